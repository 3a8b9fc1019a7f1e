package fat

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestManyNames lets a directory grow over many clusters, makes holes in it and
// fills them.
func TestManyNames(t *testing.T) {
	for _, f := range []format{formats[0], formats[3], formats[11], formats[18]} {
		t.Run(f.String(), func(t *testing.T) {
			image := f.make(t)
			want := map[string]leaf{".": {dir: true}, "many": {dir: true}}
			edit(t, image, func(fsys *FS) error {
				err := fsys.Mkdir("many", 0o755)
				for i := range 700 {
					name := fmt.Sprintf("many/bcm2710-rpi-overlay-with-a-long-name-%03d.dtbo", i)
					err = errors.Join(err, fsys.WriteFile(name, []byte(name), 0o755))
					want[name] = leaf{false, name, may}
				}
				return err
			})
			fsys := edit(t, image, func(fsys *FS) (err error) {
				for i := range 700 {
					name := fmt.Sprintf("many/bcm2710-rpi-overlay-with-a-long-name-%03d.dtbo", i)
					if i%3 != 0 {
						err = errors.Join(err, fsys.Remove(name))
						delete(want, name)
					}
					if i%2 == 0 {
						short := fmt.Sprintf("many/%03d", i)
						err = errors.Join(err, fsys.WriteFile(short, nil, 0o755))
						want[short] = leaf{false, "", may}
					}
				}
				return err
			})
			if diff := cmp.Diff(want, tree(t, fsys), cmp.AllowUnexported(leaf{})); diff != "" {
				t.Errorf("we see (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, mtoolsTree(t, image), cmp.AllowUnexported(leaf{})); diff != "" {
				t.Errorf("mtools sees (-want +got):\n%s", diff)
			}
			many, err := fsys.enter(fsys.root.find("many"))
			if err != nil || many.end > 2+700*5+1 { // the first short name comes before any hole
				t.Errorf("the directory has %d slots, %v; want deleted ones used again", many.end, err)
			}
		})
	}
}

// TestFull fills a file system to the last cluster. What does not fit leaves no
// trace.
func TestFull(t *testing.T) {
	for _, f := range []format{formats[1], formats[13]} {
		t.Run(f.String(), func(t *testing.T) {
			image := f.make(t)
			fill(t, image, 50)
			fsys := edit(t, image, func(fsys *FS) error {
				size := fsys.table.clusterSize
				room := describe(t, fsys).FreeClusters * size
				tooLarge, almost := make([]byte, room+1), make([]byte, room-size)
				demandNoSpace(t, "a new file", fsys.WriteFile("a", tooLarge, 0o755))
				err := fsys.WriteFile("a", almost, 0o755)
				demandNoSpace(t, "growth", fsys.WriteFile("a", tooLarge, 0o755))
				return errors.Join(err, fsys.Mkdir("b", 0o755))
			})
			if got := describe(t, fsys).FreeClusters; got != 0 {
				t.Errorf("%d clusters are free, want none", got)
			}
			edit(t, image, func(fsys *FS) error {
				demandNoSpace(t, "a file on a full file system", fsys.WriteFile("c", []byte("c"), 0o755))
				demandNoSpace(t, "a directory on a full file system", fsys.Mkdir("d", 0o755))
				return fsys.WriteFile("empty", nil, 0o755)
			})
		})
	}
}

func demandNoSpace(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("%s: got error %v, want ErrNoSpace", what, err)
	}
}

// TestFullRoot fills FAT16's root directory, which does not grow.
func TestFullRoot(t *testing.T) {
	image := formats[0].make(t)
	fsys := edit(t, image, func(fsys *FS) (err error) {
		for i := 0; err == nil; i++ {
			err = fsys.Mkdir(fmt.Sprintf("DIR%d", i), 0o755)
		}
		if !errors.Is(err, ErrNoSpace) {
			return err
		}
		return nil
	})
	if got, want := len(fsys.root.entries), 512-1; got != want { // one is the label's
		t.Errorf("the root directory holds %d entries, want %d", got, want)
	}
}
