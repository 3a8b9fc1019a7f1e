package recipe

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// TestOwnUSBMode: the line that switches a Pi's USB port is its last, over which the owner's does
// not win; it stays in the section of the file that it was in.
func TestOwnUSBMode(t *testing.T) {
	s, base := controllerImage(t, rootfs.NetworkManager)
	tree := rootfs.NewOverlay(base)
	const name = "boot/firmware/config.txt"
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	own := "dtoverlay=dwc2,dr_mode=host\n[cm5]\ndtoverlay=mine\n"
	if err := errors.Join(tree.WriteFile(name, append(text, own...), 0o755), edit.Apply(tree, brandEdits(s, node.ID(7).Role()))); err != nil {
		t.Fatal(err)
	}
	got, err := fs.ReadFile(tree, name)
	if err != nil || !strings.Contains(string(got), "[all]\n"+own+edit.BlockStart+"\n") || !strings.HasSuffix(string(got), "[all]\n"+edit.BlockEnd+"\n") {
		t.Errorf("got %v\n%s\nwant our block behind %q", err, got, own)
	}
}

// TestControllerTwice builds on what was built: nothing may change.
func TestControllerTwice(t *testing.T) {
	for _, n := range networks {
		s, tree := controllerImage(t, n)
		plan, err := edit.NewPlan(tree, Controller(s, programs))
		if err != nil || len(plan) > 0 {
			var b strings.Builder
			plan.WriteDiff(&b)
			t.Errorf("%s: %v\n%s", n, err, b.String())
		}
	}
}
