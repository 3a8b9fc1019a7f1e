package disk

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/format/condensed"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
)

// A sharedImage has four blocks, of which the third is not kept. The command line is in the
// second.
func sharedImage(fill byte) []byte {
	image := bytes.Repeat([]byte{fill}, 4*blockSize)
	clear(image[2*blockSize : 3*blockSize])
	return image
}

const line = "console=tty1 root=PARTUUID=12345678-02 init=/usr/sbin/reconfig-clusterctrl cbridge \n"

// cardWith writes the partition of a card that has an image for some nodes.
func cardWith(t *testing.T, fill byte, nodes int) string {
	t.Helper()
	note, err := recipe.NodesImage{Nodes: nodes, Offset: blockSize, CommandLine: line}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "partition"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image := sharedImage(fill)
	err = condensed.Write(f, condensed.Image{Content: bytes.NewReader(image), Size: int64(len(image)), Runs: []condensed.Run{{First: 0, Count: 2}, {First: 3, Count: 1}}, Note: note}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestWelcome gives the nodes that a card is for their disks, once for each image.
func TestWelcome(t *testing.T) {
	d := Dir{Path: t.TempDir(), Card: cardWith(t, 'a', 3)}
	want := func(ids ...node.ID) {
		t.Helper()
		if err := d.Welcome(); err != nil {
			t.Fatal(err)
		}
		if got, err := d.IDs(); err != nil || !slices.Equal(got, ids) {
			t.Fatalf("disks of %v, %v; want %v", got, err, ids)
		}
	}
	want(1, 2, 3)
	for _, id := range []node.ID{1, 3} {
		readsAs(t, d, id, 'a')
	}
	if err := d.Remove(2); err != nil {
		t.Fatal(err)
	}
	want(1, 3)
	if err := d.AddFromCard(0, 2, 9); err != nil {
		t.Fatal(err)
	}
	want(1, 2, 3, 9)
	readsAs(t, d, 9, 'a')
	if err := d.AddFromCard(0, 10, 9); err == nil || !strings.Contains(err.Error(), "p9 has a disk already") {
		t.Errorf("a second disk of p9: %v", err)
	}
	if err := d.AddFromCard(blockSize, 10); err == nil || !strings.Contains(err.Error(), "more than a disk of 4096") {
		t.Errorf("a disk smaller than its image: %v", err)
	}
	want(1, 2, 3, 9)
}

// readsAs reads a node's disk, which has DefaultSize, to its image's end and behind it.
func readsAs(t *testing.T, d Dir, id node.ID, fill byte) {
	t.Helper()
	disk, err := d.open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	want := append(sharedImage(fill), make([]byte, blockSize)...)
	sector := want[blockSize : blockSize+recipe.SectorSize]
	clear(sector)
	copy(sector, strings.Replace(line, "cbridge \n", fmt.Sprintf("%v      \n", id), 1))
	got := make([]byte, len(want))
	if _, err := disk.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v reads something else than its image (%v)", id, err)
	}
	if disk.Size() != DefaultSize {
		t.Errorf("disk of %d bytes, want %d", disk.Size(), int64(DefaultSize))
	}
}

// TestAnotherCard puts disks under a controller whose card has another image, or none.
func TestAnotherCard(t *testing.T) {
	d := Dir{Path: t.TempDir(), Card: cardWith(t, 'a', 1)}
	if err := d.Welcome(); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, make([]byte, 2*blockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, card := range map[string]string{"another": cardWith(t, 'b', 1), "none": none, "no partition": none + "x"} {
		other := Dir{Path: d.Path, Card: card}
		if _, err := other.open(1); err == nil || !strings.Contains(err.Error(), "its base is missing") {
			t.Errorf("%s: %v", name, err)
		}
		if err := other.AddFromCard(0, 2); (err == nil) != (name == "another") {
			t.Errorf("%s: add: %v", name, err)
		}
		if name != "another" {
			if err := other.Welcome(); err != nil {
				t.Errorf("%s: welcome: %v", name, err)
			}
		}
	}
	readsAs(t, d, 1, 'a')
}
