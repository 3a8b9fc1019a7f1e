package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"clusterctrl/internal/image/payload"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
)

// What the linker sets in builds by make.
var (
	version = "dev"
	commit  string // of the source, in full
	date    string // of the commit, in RFC 3339
)

// A buildReport says what this program was made from.
type buildReport struct {
	Version string        `json:"version"`
	Commit  string        `json:"commit"` // empty if not known, and so the date
	Date    string        `json:"date"`
	Go      string        `json:"go"`
	Payload []rootfs.Arch `json:"payload"` // which Pis it can build images for
}

func thisBuild() buildReport {
	r := buildReport{version, commit, date, runtime.Version(), payload.Archs()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	if r.Version == "dev" && strings.HasPrefix(info.Main.Version, "v") {
		r.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && r.Commit == "":
			r.Commit = s.Value
		case s.Key == "vcs.time" && r.Date == "":
			r.Date = s.Value
		}
	}
	return r
}

const versionHelp = `Version prints the version of this program, the commit that it was made from and
the commit's date, the version of Go, and for which Pis it holds the program that
goes into images.`

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    versionHelp,
		Example: "  clusterctrl version\n  clusterctrl version --json",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := thisBuild()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			var archs []string
			for _, arch := range r.Payload {
				archs = append(archs, string(arch))
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "version:  %s\ncommit:   %s\ndate:     %s\nGo:       %s\npayload:  %s\n",
				r.Version, known(r.Commit), known(r.Date), r.Go, known(strings.Join(archs, ", ")))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// known is a fact, or a dash for none.
func known(fact string) string {
	if fact == "" {
		return "-"
	}
	return fact
}
