package fat

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExtents copies files by the extents alone.
func TestExtents(t *testing.T) {
	image := formats[11].make(t)
	populate(t, image)
	fill(t, image, 200)
	want := bytes.Repeat([]byte("0123456"), 10000)
	fsys := edit(t, image, func(fsys *FS) error { return fsys.WriteFile("scattered", want, 0o755) })
	extents, err := fsys.Extents("scattered")
	if err != nil || len(extents) < 10 {
		t.Fatalf("got %d extents, %v; want many", len(extents), err)
	}
	file, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, x := range extents {
		got = append(got, file[x.Offset:][:x.Length]...)
	}
	if size := fsys.table.clusterSize; len(got) != (len(want)+size-1)/size*size || !bytes.HasPrefix(got, want) {
		t.Error("the extents hold something else")
	}
}

// TestFreeExtents destroys all that is said to be free.
func TestFreeExtents(t *testing.T) {
	for _, f := range []format{formats[0], formats[13]} {
		t.Run(f.String(), func(t *testing.T) {
			image := f.make(t)
			populate(t, image)
			want := mtoolsTree(t, image)
			fsys := open(t, image)
			var sum int64
			for x, err := range fsys.FreeExtents() {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fsys.dev.WriteAt(bytes.Repeat([]byte{0xaa}, int(x.Length)), x.Offset); err != nil {
					t.Fatal(err)
				}
				sum += x.Length
			}
			if i := describe(t, fsys); sum != int64(i.FreeClusters)*int64(i.ClusterSize) {
				t.Errorf("%d bytes are free, Info says %d clusters of %d", sum, i.FreeClusters, i.ClusterSize)
			}
			fsck(t, image)
			if diff := cmp.Diff(want, mtoolsTree(t, image), cmp.AllowUnexported(leaf{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
