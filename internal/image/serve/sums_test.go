package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/node"
	"github.com/google/go-cmp/cmp"
)

// TestNoted: a noted sum is used only where it can be relied on. The sums here are wrong,
// so that the test sees which are used.
func TestNoted(t *testing.T) {
	wrong := strings.Repeat("ab", 32)
	now := time.Now().Truncate(time.Second)
	for _, tt := range []struct {
		name                    string
		controller, image, list time.Duration // when each was written
		want                    bool          // the sum is taken
	}{
		{"as built", 0, 0, 1, true},
		{"controller changed since", 1, 0, 2, false},
		{"image changed since", 0, 2, 1, false},
		{"all at once", 0, 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, build(t), []node.Role{node.CBridge, node.ID(1).Role(), node.ID(2).Role()}, "")
			dir := filepath.Dir(s.controller)
			list := filepath.Join(dir, diskimage.SumsName)
			text := ""
			for _, role := range []string{"CBRIDGE", "p1", "p2"} { // there is no image of p2
				text += wrong + "  " + filepath.Base(s.sibling(role)) + "\n"
			}
			if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for file, at := range map[string]time.Duration{s.controller: tt.controller, s.sibling("p1"): tt.image, list: tt.list} {
				if err := os.Chtimes(file, time.Time{}, now.Add(at*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Sum(t.Context(), "", silent); err != nil {
				t.Fatal(err)
			}
			got := []bool{}
			for _, i := range s.images {
				got = append(got, i.Sum.String() == wrong)
			}
			if want := []bool{false, tt.want, false}; !cmp.Equal(got, want) {
				t.Errorf("noted sums were taken: %v, want %v", got, want)
			}
		})
	}
}

// TestSumFails: requests that wait for sums are answered when the summing fails.
func TestSumFails(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge}, packed.XZ)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sum(canceled, "", silent); !errors.Is(err, context.Canceled) {
		t.Errorf("a sum after the end: %v", err)
	}
	file, err := os.Open(os.DevNull) // which cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.Compress(t.Context(), file, silent); err == nil {
		t.Error("compressed into a file that cannot be written to")
	}
	for _, name := range []string{ManifestName, diskimage.SumsName, "cbridge.img.xz"} {
		if response, _ := s.get(t, name); response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s, want 503", name, response.Status)
		}
	}
}

// TestCache sums up images twice: the second time, and with another role besides,
// only what is new is read, unless the image has changed.
func TestCache(t *testing.T) {
	controller, dir := build(t), filepath.Join(t.TempDir(), "sums")
	for _, tt := range []struct {
		name string
		id   node.ID // besides p1
		want int64   // images that are read
	}{{"first", 2, 2}, {"again", 2, 0}, {"another role", 3, 1}, {"all known", 2, 0}, {"changed", 2, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "changed" {
				if err := os.Chtimes(controller, time.Time{}, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, controller, []node.Role{node.ID(1).Role(), tt.id.Role()}, "")
			var seen counted
			if err := s.Sum(t.Context(), dir, func(string, int64) io.WriteCloser { return &seen }); err != nil {
				t.Fatal(err)
			}
			size := s.images[0].Size
			if got := int64(seen) / size; got != tt.want {
				t.Errorf("%d images were read, want %d", got, tt.want)
			}
			if want := sha256.Sum256(readFile(t, s.sibling("p1"))); s.images[0].Sum != want {
				t.Errorf("p1 has sum %v, want %x", s.images[0].Sum, want)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
				t.Errorf("files %v, %v; want one", files, err)
			}
		})
	}
}

type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

func (*counted) Close() error { return nil }
