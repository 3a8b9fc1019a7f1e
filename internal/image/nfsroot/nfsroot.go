// Package nfsroot makes, out of a controller's image, the archive that the roots of
// nodes without cards are unpacked from: systems that start over USB and have their
// files on the controller.
package nfsroot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"clusterctrl/internal/image/archive"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/linux/initramfs"
	"clusterctrl/internal/linux/kmod"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"github.com/klauspost/compress/gzip"
)

// A Format is how an archive is packed: the end of its name.
type Format string

const (
	TarZstd Format = "tar.zst"
	TarXZ   Format = "tar.xz"
	Tar     Format = "tar"
)

// ParseFormat parses the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case TarZstd, TarXZ, Tar:
		return f, nil
	}
	return "", fmt.Errorf("archive %q: want %s, %s or %s", s, TarZstd, TarXZ, Tar)
}

// packing is how the tar file is compressed, empty if it is not.
func (f Format) packing() packed.Format {
	switch f {
	case TarZstd:
		return packed.Zstd
	case TarXZ:
		return packed.XZ
	}
	return ""
}

// A Source is what an archive is made from.
type Source struct {
	Image   *rootfs.Image                     // a controller's; it is changed in memory, and must not be closed
	System  recipe.System                     // what the image holds; its gadget may be empty
	Program func(rootfs.Arch) ([]byte, error) // becomes /init: that of package usbroot
}

// Plan returns what makes the image the root of a node that has no number yet.
func (s Source) Plan() (edit.Plan, error) {
	init, err := s.Program(s.System.Arch)
	if err != nil {
		return nil, err
	}
	files, err := Initramfs(s.Image, s.System.BootDir, init, "")
	if err != nil {
		return nil, err
	}
	system := s.System
	system.Gadget = cmp.Or(system.Gadget, recipe.DefaultUSBBootGadget)
	return edit.NewPlan(s.Image, recipe.NFSArchive(system, files, init))
}

// Write writes the archive. Progress is told of each byte of the tar file. The same
// image gives the same bytes.
func (s Source) Write(ctx context.Context, w io.Writer, format Format, progress io.Writer) error {
	plan, err := s.Plan()
	if err != nil {
		return err
	}
	if err := plan.Apply(s.Image); err != nil {
		return err
	}
	to := writer{ctx, w}
	if format == Tar {
		return archive.Write(io.MultiWriter(to, progress), s.Image)
	}
	stream := format.packing().NewStream(ctx, to)
	err = archive.Write(io.MultiWriter(stream, progress), s.Image)
	return errors.Join(err, stream.Close())
}

// A writer fails once its context is done.
type writer struct {
	ctx context.Context
	io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

// Modules for /init. Every kernel must have those of the first list. Those of the second
// list are built into some kernels: Raspberry Pi OS's have the NFS client, ext4 and the driver
// for what connects a Pi's USB controller to its port built in.
var (
	modules = []string{"libcomposite", "usb_f_ecm", "usb_f_ncm", "usb_f_rndis", "usb_f_acm", "dwc2", "8021q", "nbd"}
	alsoIf  = []string{"phy-generic", "nfsv3", "nfsv4", "ext4"}
)

// Initramfs returns the initramfs of each kernel in a tree, by its name in the boot
// partition; of the kernels of release's flavour alone, if release is not empty. init is the
// program that it starts. The archives are packed by gzip, which all kernels know.
func Initramfs(tree fs.FS, bootDir string, init []byte, release string) (map[string][]byte, error) {
	kernels, err := recipe.Kernels(tree, bootDir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, k := range kernels {
		if release != "" && recipe.InitramfsName(release) != k.Initramfs {
			continue
		}
		if files[k.Initramfs], err = initramfsOf(tree, k, init); err != nil {
			return nil, fmt.Errorf("initramfs of kernel %s: %w", k.Release, err)
		}
	}
	return files, nil
}

func initramfsOf(tree fs.FS, k recipe.Kernel, init []byte) ([]byte, error) {
	dir, err := fs.Sub(tree, path.Join("lib/modules", k.Release))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	err = initramfs.Archive{Init: init, Modules: modules, AlsoIf: alsoIf}.Write(z, dir)
	if errors.Is(err, kmod.ErrNotFound) {
		err = fmt.Errorf("%w: a node without a card needs it", err)
	}
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}
