package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/tree/rootfs"
	"github.com/klauspost/compress/gzip"
)

// A Kernel is a kernel for the arm64 machine, with its modules.
type Kernel struct {
	Name    string // for errors: its release, and where it is from
	Release string
	Image   []byte
	Modules fs.FS // its /lib/modules/RELEASE

	io.Closer
}

// OpenKernel opens the kernel in a directory that holds what a package of
// Debian's does, in boot and lib/modules, or as much of it as is needed.
func OpenKernel(dir string) (Kernel, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Kernel{}, err
	}
	image, err := readOnlyKernel(root.FS())
	if err != nil {
		return Kernel{}, errors.Join(fmt.Errorf("%s: %w", dir, err), root.Close())
	}
	return newKernel(dir, image, root.FS(), root)
}

// readOnlyKernel reads the only kernel in a directory; several are an error.
func readOnlyKernel(dir fs.FS) ([]byte, error) {
	var names []string
	for _, pattern := range []string{"boot/vmlinuz*", "vmlinuz*"} {
		found, err := fs.Glob(dir, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	switch len(names) {
	case 0:
		return nil, errors.New("no kernel: want what is in Debian's package linux-image-arm64, boot/vmlinuz-RELEASE and lib/modules/RELEASE")
	case 1:
		return fs.ReadFile(dir, names[0])
	}
	return nil, fmt.Errorf("kernels %s: want one", strings.Join(names, " and "))
}

// CardKernel opens the kernel of an image, the one that the firmware of a Pi
// with 64 bits starts.
func CardKernel(image string) (Kernel, error) {
	kernel, err := models["raspi3b"].readKernel(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", image, err)
	}
	in, err := diskimage.OpenRaw(image)
	if err != nil {
		return Kernel{}, err
	}
	tree, err := rootfs.OpenImage(in.Raw(), in.Size())
	if err != nil {
		return Kernel{}, errors.Join(fmt.Errorf("%s: %w", image, err), in.Close())
	}
	return newKernel(image, kernel, tree, in)
}

// newKernel finds the modules of a kernel. It closes what it cannot use.
func newKernel(from string, image []byte, tree fs.FS, c io.Closer) (Kernel, error) {
	release, err := releaseOf(image)
	if err != nil {
		return Kernel{}, errors.Join(fmt.Errorf("%s: %w", from, err), c.Close())
	}
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		dir := path.Join(lib, release)
		if _, err := fs.Stat(tree, dir); err != nil {
			continue
		}
		modules, err := fs.Sub(tree, dir)
		if err != nil {
			return Kernel{}, errors.Join(err, c.Close())
		}
		return Kernel{fmt.Sprintf("%s of %s", release, from), release, image, modules, c}, nil
	}
	return Kernel{}, errors.Join(fmt.Errorf("%s: no lib/modules/%s, for the kernel there", from, release), c.Close())
}

// banner is the first line that every kernel prints when it starts.
var banner = regexp.MustCompile(`Linux version ([0-9][0-9A-Za-z.+_~-]*) \(`)

// maxKernel bounds what a packed kernel is unpacked to.
const maxKernel = 256 << 20

// releaseOf finds the release in a kernel's image, which for arm64 is packed by
// gzip or not at all.
func releaseOf(image []byte) (string, error) {
	if bytes.HasPrefix(image, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(bytes.NewReader(image))
		if err != nil {
			return "", err
		}
		if image, err = io.ReadAll(io.LimitReader(z, maxKernel)); err != nil {
			return "", fmt.Errorf("packed kernel: %w", err)
		}
	}
	found := banner.FindSubmatch(image)
	if found == nil {
		return "", errors.New("no kernel for arm64 that says its version")
	}
	return string(found[1]), nil
}
