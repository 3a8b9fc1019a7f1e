package provision

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/format/condensed"
	"clusterctrl/internal/image/card"
	"clusterctrl/internal/image/sample/sampletest"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"github.com/google/go-cmp/cmp"
)

// TestWithNodes holds a controller's image with one for its nodes against the same
// without: sfdisk finds the third partition between the two others, the root's file
// system lies further behind and grows with its partition, and what nodes read is the
// image without its free space.
func TestWithNodes(t *testing.T) {
	from := base(t, "base.img", 0)
	plain, dir := t.TempDir(), t.TempDir()
	o := options(from, dir, 0)
	o.WithNodes = 3
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "nodes without cards cannot start from it: ") {
		t.Errorf("without a kernel: %v", err)
	}
	addKernel(t, from)
	program := func(rootfs.Arch) ([]byte, error) { return []byte("first program"), nil }
	o.USBRoot = program
	without := options(from, plain, 0)
	without.USBRoot = program
	if _, err := Build(t.Context(), without); err != nil {
		t.Fatal(err)
	}
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 2 || !strings.Contains(strings.Join(result.Notes, "\n"), "want a card of 8 GB") {
		t.Errorf("built %v, with the notes %q", result.Files, result.Notes)
	}
	before, after := filepath.Join(plain, imageOf(t, plain, "CBRIDGE")), filepath.Join(dir, imageOf(t, dir, "CBRIDGE"))
	old, new := sfdisk(t, before), sfdisk(t, after)
	between := new.Partitions[2]
	want := old
	want.Partitions = append([]partition{}, old.Partitions...)
	want.Partitions[1].Start += between.Size
	want.Partitions = append(want.Partitions, partition{Start: old.Partitions[1].Start, Size: between.Size, Type: "da"})
	if diff := cmp.Diff(want, new); diff != "" {
		t.Errorf("partitions: -want +got:\n%s", diff)
	}
	for i, p := range old.Partitions {
		if !bytes.Equal(content(t, before, p), content(t, after, new.Partitions[i])) {
			t.Errorf("partition %d is not what it is without nodes", i+1)
		}
	}
	if _, err := open(t, after).Stat("boot/firmware/clusterctrl-initramfs8"); err != nil {
		t.Error(err)
	}
	c, err := OpenController(after)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.StartsFromDisk {
		t.Error("disk add would say that nodes cannot start from it")
	}
	readsAs(t, after, between, before)
	grows(t, after)
}

// addKernel puts a kernel with all modules that a node without a card needs into an image.
func addKernel(t *testing.T, image string) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := rootfs.OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sampletest.AddKernel(tree), tree.Close()); err != nil {
		t.Fatal(err)
	}
}

// readsAs compares the nodes' image in a partition with the image that is in a file.
func readsAs(t *testing.T, image string, p partition, other string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	nodes, err := condensed.Open(io.NewSectionReader(f, p.Start*512, p.Size*512), p.Size*512)
	if err != nil {
		t.Fatal(err)
	}
	note, err := recipe.ParseNodesImage(nodes.Note)
	if err != nil || note.Nodes != 3 {
		t.Fatalf("note %q: %v", nodes.Note, err)
	}
	whole, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, nodes.Size())
	if _, err := nodes.ReadAt(got, 0); err != nil || len(got) != len(whole) || sha256.Sum256(got) != nodes.Sum {
		t.Fatalf("%d bytes, want %d with the SHA-256 that the header says (%v)", len(got), len(whole), err)
	}
	for _, r := range card.Used(bytes.NewReader(whole)) {
		if !bytes.Equal(got[r.Start:r.End], whole[r.Start:r.End]) {
			t.Errorf("bytes %d to %d are others", r.Start, r.End)
		}
	}
	controller, err := OpenController(other)
	if err != nil {
		t.Fatal(err)
	}
	defer controller.Close()
	for _, id := range []node.ID{1, 252} {
		patch, err := controller.Patch(id.Role())
		if err != nil {
			t.Fatal(err)
		}
		sector, err := note.Sector(id)
		if err != nil || note.Offset != patch.Offset || !bytes.Equal(sector[:], patch.Data) {
			t.Errorf("%v: sector at %d %q, %v; want at %d %q", id, note.Offset, sector, err, patch.Offset, patch.Data)
		}
	}
}

// grows has the root of an image on a larger card extended, as the vendor's first boot
// does, and its file system checked.
func grows(t *testing.T, image string) {
	t.Helper()
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, info.Size()+64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, ", +\n", "sfdisk", "--no-reread", "-N", "2", image)
	root := sfdisk(t, image).Partitions[1]
	if want := root.Start + root.Size; want*512 != info.Size()+64<<20 {
		t.Errorf("the root ends at sector %d, want the end of the card", want)
	}
	part := filepath.Join(t.TempDir(), "root.img")
	if err := os.WriteFile(part, content(t, image, root), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "e2fsck", "-fn", part)
	run(t, "", "resize2fs", "-f", part)
	run(t, "", "e2fsck", "-fn", part)
}

// A table of partitions as sfdisk sees it; sizes are in sectors.
type table struct {
	ID         string      `json:"id"`
	Partitions []partition `json:"partitions"`
}

type partition struct {
	Start, Size int64
	Type        string
}

func sfdisk(t *testing.T, image string) table {
	t.Helper()
	run(t, "", "sfdisk", "--verify", image)
	var out struct {
		Table table `json:"partitiontable"`
	}
	if err := json.Unmarshal(run(t, "", "sfdisk", "--json", image), &out); err != nil {
		t.Fatal(err)
	}
	return out.Table
}

func content(t *testing.T, image string, p partition) []byte {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, p.Start*512, p.Size*512))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func run(t *testing.T, in, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return out
}
