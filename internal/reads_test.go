package internal

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestBoundedReads has all that reads foreign trees do so by rootfs.ReadText, which knows
// how large a file may be, and not by fs.ReadFile, which takes all memory for one that is
// nothing but a hole.
func TestBoundedReads(t *testing.T) {
	embedded := []string{"internal/tree/recipe/recipe.go", "internal/image/payload/payload.go"}
	for _, dir := range []string{"internal/tree", "internal/image", "internal/pi/firstboot", "cmd"} {
		err := fs.WalkDir(os.DirFS(".."), dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || slices.Contains(embedded, name) {
				return err
			}
			text, err := os.ReadFile(path.Join("..", name))
			if err == nil && strings.Contains(string(text), "fs.ReadFile(") {
				t.Errorf("%s: fs.ReadFile of what may be foreign: want rootfs.ReadText", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
