package main

import (
	"encoding/json"
	"io"
	"os"

	"clusterctrl/cmd/clusterctrl/progress"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// display returns what shows progress on standard error: bars on a terminal that can
// show them, lines elsewhere, nothing if the user wants none.
func display(cmd *cobra.Command) *progress.Display {
	if quiet, _ := cmd.Flags().GetBool("quiet"); quiet {
		return nil
	}
	const narrow = 60 // columns, of a bar with its numbers
	if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && width >= narrow && os.Getenv("TERM") != "dumb" {
		return progress.Bars(cmd.ErrOrStderr())
	}
	return progress.Lines(cmd.ErrOrStderr())
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
