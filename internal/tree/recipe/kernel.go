package recipe

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// A Kernel is one that firmware starts, with an initramfs of its own.
type Kernel struct {
	Release   string // as uname(1) has it
	Initramfs string // file in the boot partition
}

// flavours are those in which the vendor builds each kernel, by the end of the
// kernel's release, with what firmware calls the files of each where config.txt says
// auto_initramfs=1 (raspberrypi.com/documentation, config.txt).
var flavours = []struct {
	ends             []string
	image, initramfs string
}{
	{[]string{"v7"}, "kernel7.img", "initramfs7"},
	{[]string{"v7l"}, "kernel7l.img", "initramfs7l"},
	{[]string{"v8", "arm64"}, "kernel8.img", "initramfs8"},
	{[]string{"2712"}, "kernel_2712.img", "initramfs_2712"},
	{nil, "kernel.img", "initramfs"}, // v6, and what has no such end
}

// Kernels returns the kernels that a tree has modules of, one for each name of an
// initramfs. Where the modules of several are there, it is the one that the boot
// partition has, or else the newest.
func Kernels(tree fs.FS, bootDir string) ([]Kernel, error) {
	dirs, err := fs.ReadDir(tree, "lib/modules")
	if err != nil {
		return nil, err
	}
	var kernels []Kernel
	for _, f := range flavours {
		var releases []string
		for _, d := range dirs {
			_, err := fs.Stat(tree, path.Join("lib/modules", d.Name(), "kernel"))
			if err == nil && InitramfsName(d.Name()) == f.initramfs { // else it is what a removed kernel left behind
				releases = append(releases, d.Name())
			}
		}
		if len(releases) == 0 {
			continue
		}
		slices.SortFunc(releases, compareReleases)
		release := releases[len(releases)-1]
		if len(releases) > 1 {
			if there := imageRelease(tree, path.Join(bootDir, f.image)); slices.Contains(releases, there) {
				release = there
			}
		}
		kernels = append(kernels, Kernel{release, f.initramfs})
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("lib/modules: no kernel's modules")
	}
	return kernels, nil
}

// InitramfsName is what firmware calls the initramfs of a kernel, by its release.
func InitramfsName(release string) string {
	flavour := release[strings.LastIndexAny(release, "-+")+1:]
	if flavour == "" { // such as 6.1.21-v8+
		base := strings.TrimRight(release, "+")
		flavour = base[strings.LastIndex(base, "-")+1:]
	}
	for _, f := range flavours {
		if f.ends == nil || slices.Contains(f.ends, flavour) {
			return f.initramfs
		}
	}
	panic("the last flavour takes all")
}

// maxKernel is the size of the largest image of a kernel that is looked into; those of
// Debian for arm64 have 50 MiB.
const maxKernel = 256 << 20

// banner is how each kernel introduces itself (init/version.c).
var banner = regexp.MustCompile(`Linux version ([0-9][^ \x00]*) `)

// imageRelease returns the release of the kernel in a file, empty if the file does not
// tell: one that is not compressed, or by gzip, as a whole or behind the program
// that unpacks it.
func imageRelease(tree fs.FS, name string) string {
	f, err := tree.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	image, err := io.ReadAll(io.LimitReader(f, maxKernel))
	if err != nil {
		return ""
	}
	if m := banner.FindSubmatch(image); m != nil {
		return string(m[1])
	}
	packed := []byte{0x1f, 0x8b, 8} // RFC 1952; other bytes may be like these
	for range 16 {
		at := bytes.Index(image, packed)
		if at < 0 {
			break
		}
		image = image[at:]
		if r, err := gzip.NewReader(bytes.NewReader(image)); err == nil {
			unpacked, _ := io.ReadAll(io.LimitReader(r, maxKernel)) // more follows a kernel in a zImage
			if m := banner.FindSubmatch(unpacked); m != nil {
				return string(m[1])
			}
		}
		image = image[len(packed):]
	}
	return ""
}

// compareReleases orders kernels by age: numbers count as numbers, so that 6.12.9 is
// before 6.12.25.
func compareReleases(a, b string) int {
	if order := slices.Compare(numbers(a), numbers(b)); order != 0 {
		return order
	}
	return strings.Compare(a, b)
}

func numbers(release string) []int {
	var all []int
	for _, digits := range strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(digits)
		if err == nil {
			all = append(all, n)
		}
	}
	return all
}
