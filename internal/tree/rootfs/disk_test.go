package rootfs

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
)

// sampleDisk is the sample image, unpacked once.
var sampleDisk = sync.OnceValues(func() ([]byte, error) {
	return io.ReadAll(xz.NewReader(bytes.NewReader(sample.Image), 1<<26))
})

// disk is a copy of the sample image that keeps changed pages only.
type disk struct {
	base  []byte
	pages map[int64][]byte
}

const page = 4096

func newDisk(t interface{ Fatal(...any) }) *disk {
	base, err := sampleDisk()
	if err != nil {
		t.Fatal(err)
	}
	return &disk{base, map[int64][]byte{}}
}

func (d *disk) size() int64 { return int64(len(d.base)) }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < d.size() {
		in, at := off/page, off%page
		src, changed := d.pages[in]
		if !changed {
			src = d.base[in*page : (in+1)*page]
		}
		k := copy(p[n:], src[at:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		in, at := off/page, off%page
		if d.pages[in] == nil {
			d.pages[in] = bytes.Clone(d.base[in*page : (in+1)*page])
		}
		k := copy(d.pages[in][at:], p[n:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func openImage(t interface{ Fatal(...any) }, d *disk) *Image {
	image, err := OpenImage(d, d.size())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// check asks e2fsck and fsck.fat for their opinion of the partitions.
func check(t interface{ Fatalf(string, ...any) }, d *disk) {
	dir, err := os.MkdirTemp("", "fsck")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	image, err := OpenImage(d, d.size())
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i, program := range [][]string{{"fsck.fat", "-n"}, {"e2fsck", "-fn"}} {
		p := image.Table.Partitions[i]
		file := filepath.Join(dir, program[0])
		if err := extract(d, p.Start, p.Size, file); err != nil {
			t.Fatalf("%v", err)
		}
		if out, err := exec.Command(program[0], program[1], file).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program[0], err, out)
		}
	}
}

func extract(d *disk, start, size int64, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, page)
	for off := int64(0); off < size; off += page {
		if _, err := d.ReadAt(buf, start+off); err != nil {
			return err
		}
		if !bytes.Equal(buf, make([]byte, page)) {
			if _, err := f.WriteAt(buf, off); err != nil {
				return err
			}
		}
	}
	return f.Truncate(size)
}
