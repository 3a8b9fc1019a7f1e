// Package edit changes the files of a Pi's root file system.
//
// An edit is a value: a list of edits can be printed before it is applied, and
// compared in a test without applying it at all. Applying a list twice leaves
// the tree as applying it once does.
//
// [NewPlan] finds out what a list of edits comes to in a given tree without
// touching it; the [Plan] can be shown as a unified diff, counted, and applied.
// An edit that cannot be made is therefore found before anything is written.
package edit

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"clusterctrl/internal/tree/rootfs"
	"github.com/rogpeppe/go-internal/diff"
)

// An Edit is one change to a tree. String says what the edit does, starting with a
// verb: "set SIZE=4 in etc/default/x".
type Edit interface {
	fmt.Stringer
	Apply(rootfs.Tree) error
}

// A Plan is what edits come to in a tree: the changes, in the order in which
// they are to be made. It is empty where the tree is as the edits want it.
type Plan []rootfs.Change

// NewPlan applies edits in order to a copy of tree in memory and returns what
// changed. It stops at the first edit that fails.
func NewPlan(tree rootfs.Tree, edits []Edit) (Plan, error) {
	return PlanOver(rootfs.NewOverlay(tree), edits)
}

// PlanOver is NewPlan of the tree under overlay, which keeps what was read from it.
func PlanOver(overlay *rootfs.Overlay, edits []Edit) (Plan, error) {
	for _, e := range edits {
		if err := e.Apply(overlay); err != nil {
			return nil, fmt.Errorf("%v: %w", e, err)
		}
	}
	return overlay.Changes()
}

// Apply makes the changes in tree, which must be as it was for NewPlan.
func (p Plan) Apply(tree rootfs.Tree) error {
	for _, c := range p {
		if err := c.Apply(tree); err != nil {
			return err
		}
	}
	return nil
}

// Apply plans edits and makes the changes.
func Apply(tree rootfs.Tree, edits []Edit) error {
	plan, err := NewPlan(tree, edits)
	if err != nil {
		return err
	}
	return plan.Apply(tree)
}

// WriteDiff prints the plan as a unified diff, by name. What no diff can show
// (a mode, a link, a directory, a binary file) is a line of its own.
func (p Plan) WriteDiff(w io.Writer) error {
	byName := slices.Clone(p)
	slices.SortFunc(byName, func(a, b rootfs.Change) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range byName {
		if _, err := io.WriteString(w, diffOf(c)); err != nil {
			return err
		}
	}
	return nil
}

// A FileStat says what a plan does to a file.
type FileStat struct {
	Path   string `json:"path"`   // on the Pi
	Change string `json:"change"` // "add", "modify" or "remove"
}

// Stat returns what the plan does to each file, by name.
func (p Plan) Stat() []FileStat {
	stats := []FileStat{}
	for _, c := range p {
		change := "modify"
		switch {
		case c.Old == nil:
			change = "add"
		case c.New == nil:
			change = "remove"
		}
		stats = append(stats, FileStat{"/" + c.Name, change})
	}
	slices.SortFunc(stats, func(a, b FileStat) int { return strings.Compare(a.Path, b.Path) })
	return stats
}

func diffOf(c rootfs.Change) string {
	var b strings.Builder
	if note := noteOf(c); note != "" {
		fmt.Fprintf(&b, "%s\n", note)
	}
	old, new := text(c.Old), text(c.New)
	if !isText(old) || !isText(new) {
		fmt.Fprintf(&b, "binary /%s: %d bytes, were %d\n", c.Name, len(new), len(old))
	} else {
		_, hunks, _ := strings.Cut(string(diff.Diff(side("a", c.Name, c.Old), old, side("b", c.Name, c.New), new)), "\n")
		b.WriteString(hunks)
	}
	return b.String()
}

// noteOf says what happens to a file apart from its text.
func noteOf(c rootfs.Change) string {
	switch {
	case c.New == nil && !c.Old.Mode.IsRegular():
		return "remove /" + c.Name
	case c.New == nil:
		return ""
	case c.New.Mode.Type() == fs.ModeSymlink:
		return fmt.Sprintf("link /%s -> %s", c.Name, c.New.Target)
	case c.New.Mode.IsDir():
		return fmt.Sprintf("directory /%s mode %04o", c.Name, c.New.Mode.Perm())
	case c.Old == nil:
		return fmt.Sprintf("file /%s mode %04o", c.Name, c.New.Mode.Perm())
	case c.Old.Mode != c.New.Mode:
		return fmt.Sprintf("mode of /%s: %04o, was %04o", c.Name, c.New.Mode.Perm(), c.Old.Mode.Perm())
	}
	return ""
}

func side(prefix, name string, f *rootfs.File) string {
	if f == nil {
		return "/dev/null"
	}
	return prefix + "/" + name
}

func text(f *rootfs.File) []byte {
	if f == nil {
		return nil
	}
	return f.Data
}

func isText(data []byte) bool { return utf8.Valid(data) && !slices.Contains(data, 0) }
