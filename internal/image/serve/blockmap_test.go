package serve

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/image/card"
	"clusterctrl/internal/node"
	"github.com/google/go-cmp/cmp"
)

// TestBlockMap has bmaptool copy images, which checks each range and the map itself.
func TestBlockMap(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge, node.ID(1).Role(), node.ID(252).Role()}, "")
	for role, name := range map[string]string{"cbridge": s.controller, "p1": s.sibling("p1"), "p252": s.sibling("p252")} {
		t.Run(role, func(t *testing.T) {
			response, text := s.get(t, role+".img.bmap")
			if response.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", response.Status, text)
			}
			want := readFile(t, name)
			used := card.Used(bytes.NewReader(want))
			dir := t.TempDir()
			blockMap, target := filepath.Join(dir, "map"), filepath.Join(dir, "card")
			if err := os.WriteFile(blockMap, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if said := bmaptool(t, "copy", "--bmap", blockMap, name, target); said != "" {
				t.Fatal(said)
			}
			got, blocks := readFile(t, target), int64(0)
			for _, r := range used {
				blocks += (r.End - r.Start + 4095) / 4096
				if !bytes.Equal(got[r.Start:r.End], want[r.Start:r.End]) {
					t.Errorf("bytes %d to %d are not the image's", r.Start, r.End)
				}
			}
			count := fmt.Sprintf("<MappedBlocksCount> %d <", blocks)
			if !bytes.Contains(text, []byte(count)) || blocks >= int64(len(want)/4096) {
				t.Errorf("want %s, of an image with free space, in\n%s", count, text)
			}
		})
	}
	// The map of one image is not that of another.
	_, text := s.get(t, "p1.img.bmap")
	blockMap := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(blockMap, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := bmaptool(t, "copy", "--bmap", blockMap, s.sibling("p252"), filepath.Join(t.TempDir(), "card")); !strings.Contains(said, "checksum mismatch") {
		t.Errorf("bmaptool takes the map of p1 for that of p252, and says %q", said)
	}
}

// bmaptool runs bmaptool, and returns what it says if it fails.
func bmaptool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bmaptool", args...).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return ""
}

// TestBlockMapAgain ends a request for a map before it is answered, then asks again.
func TestBlockMapAgain(t *testing.T) {
	s := open(t, build(t), []node.Role{node.ID(1).Role()}, "")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	v := s.images[0].file
	if ranges, err := s.blocks.compute(gone, v); err == nil {
		t.Errorf("%d ranges for a client that has gone", len(ranges))
	}
	if _, err := s.blocks.compute(t.Context(), v); err != nil {
		t.Error(err)
	}
	if response, _ := s.get(t, "p2.img.bmap"); response.StatusCode != http.StatusNotFound {
		t.Errorf("the map of an image that is not served: %s", response.Status)
	}
}

func TestApart(t *testing.T) {
	r := func(start, end int64) card.Range { return card.Range{Start: start * mapBlock, End: end * mapBlock} }
	ranges := []card.Range{r(0, 3), r(5, 9)}
	for block, want := range map[int64][]card.Range{
		0: {r(0, 1), r(1, 3), r(5, 9)},
		1: {r(0, 1), r(1, 2), r(2, 3), r(5, 9)},
		2: {r(0, 2), r(2, 3), r(5, 9)},
		4: {r(0, 3), r(5, 9)},
		8: {r(0, 3), r(5, 8), r(8, 9)},
		9: {r(0, 3), r(5, 9)},
	} {
		if got := apart(ranges, block*mapBlock); !cmp.Equal(got, want) {
			t.Errorf("block %d apart: %v, want %v", block, got, want)
		}
	}
}
