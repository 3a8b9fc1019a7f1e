package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// maxBoot bounds the boot partition of a disk in bytes, and so the memory that reading it
// takes: the node can write any size into the partition's tables. The vendor's partition
// has 512 MiB.
const maxBoot = 4 << 30

// BootFiles returns the files that a node starts from. These are the files of the node's
// boot partition, as the node's last flush left them; words in cmdline.txt and lines in
// config.txt are added, which lead the node to its disk. Below is the disk's name in the
// directory. BootFiles takes no lock, since the node may have lost its power with its disk
// open.
func (d Dir) BootFiles(below string) (files fs.FS, closeFiles func(), err error) {
	id, err := node.ParseID(below)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(d.file(id))
	if err != nil {
		return nil, nil, err
	}
	disk, err := d.over(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%v: %w", id, err)
	}
	boot, err := openBoot(disk, id)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("disk of %v: %w", id, err), disk.Close())
	}
	return boot, func() { disk.Close() }, nil
}

// A boot is the boot partition of a node's disk.
type boot struct {
	files *fat.FS
	texts map[string]string // files that differ from the partition's, by their names
}

func openBoot(disk *opened, id node.ID) (*boot, error) {
	table, err := mbr.Read(disk, disk.Size())
	if err != nil {
		return nil, err
	}
	first := table.Partitions[0]
	if first.Size > maxBoot {
		return nil, fmt.Errorf("boot partition of %d bytes: want at most %d", first.Size, int64(maxBoot))
	}
	partition, err := fat.Open(readOnly{io.NewSectionReader(disk, first.Start, first.Size)}, first.Size)
	if err != nil {
		return nil, fmt.Errorf("boot partition: %w", err)
	}
	b := &boot{partition, map[string]string{}}
	line, err := rootfs.ReadText(partition, rootfs.CommandLine)
	if err != nil {
		return nil, err
	}
	if b.texts[rootfs.CommandLine], err = recipe.DiskCommandLine(string(line), id); err != nil {
		return nil, fmt.Errorf("%s: %w", rootfs.CommandLine, err)
	}
	const config = "config.txt"
	text, err := rootfs.ReadText(partition, config)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b.texts[config] = recipe.DiskConfig(string(text), id)
	return b, nil
}

// readOnly is a [fat.Device] that is only read.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }

// Open implements [fs.FS]. Where firmware asks for the vendor's initramfs, it gets ours.
func (b *boot) Open(name string) (fs.File, error) {
	lower := strings.ToLower(name)
	if text, ok := b.texts[lower]; ok {
		return &textFile{bytes.NewReader([]byte(text)), name}, nil
	}
	if strings.HasPrefix(lower, "initramfs") {
		f, err := b.files.Open(recipe.InitramfsPrefix + name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return b.files.Open(name)
}

// Stat implements [fs.StatFS].
func (b *boot) Stat(name string) (fs.FileInfo, error) {
	f, err := b.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// A textFile is a file in memory, and its own [fs.FileInfo].
type textFile struct {
	*bytes.Reader
	name string
}

func (t *textFile) Stat() (fs.FileInfo, error) { return t, nil }
func (t *textFile) Close() error               { return nil }
func (t *textFile) Name() string               { return t.name }
func (t *textFile) Mode() fs.FileMode          { return 0o444 }
func (t *textFile) ModTime() time.Time         { return time.Time{} }
func (t *textFile) IsDir() bool                { return false }
func (t *textFile) Sys() any                   { return nil }
