package main

import (
	"fmt"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/tree/edit"
	"github.com/spf13/cobra"
)

// A previewReport is what a build would do, as JSON.
type previewReport struct {
	Schema int         `json:"schema"`
	Images []imageToBe `json:"images"`
}

// An imageToBe is an image and the files that would change to make it.
type imageToBe struct {
	Name string          `json:"name"`
	Role string          `json:"role"`
	From string          `json:"from"` // "base", or "controller" for the controller's image
	All  []edit.FileStat `json:"changes"`
}

// preview prints what a dry run shows: diffs, lists of files, or JSON.
func (f buildFlags) preview(cmd *cobra.Command, run func(show func(provision.Preview) error) error) error {
	report := previewReport{Schema: provision.Schema, Images: []imageToBe{}}
	w := cmd.OutOrStdout()
	err := run(func(p provision.Preview) error {
		from, what := "controller", "the controller's image"
		if p.OfBase {
			from, what = "base", "the base"
		}
		if f.json {
			report.Images = append(report.Images, imageToBe{p.Name, p.Role, from, p.Changes.Stat()})
			return nil
		}
		if err := println(w, fmt.Sprintf("# %s: changes to %s", p.Name, what)); err != nil {
			return err
		}
		if f.stat {
			return writeStat(cmd, p.Changes)
		}
		return p.Changes.WriteDiff(w)
	})
	if err != nil || !f.json {
		return err
	}
	return writeJSON(w, report)
}

// writeStat prints a line for each file that a plan changes.
func writeStat(cmd *cobra.Command, plan edit.Plan) error {
	for _, s := range plan.Stat() {
		if err := println(cmd.OutOrStdout(), fmt.Sprintf("%-6s  %s", s.Change, s.Path)); err != nil {
			return err
		}
	}
	return nil
}
