// Units writes the systemd units that every member of a cluster has into a
// directory, under the names that they have on the Pi. Packages hold them; images
// get them with the rest of the recipe.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"clusterctrl/internal/tree/recipe"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: units DIR")
		os.Exit(2)
	}
	for name, text := range recipe.Units() {
		file := filepath.Join(os.Args[1], name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			fail(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "units:", err)
	os.Exit(1)
}
