package labtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/format/mbr"
)

// A Card is the content of an SD card with the layout of Raspberry Pi OS.
type Card struct {
	Boot map[string]string // files of the boot partition and where they come from
	Root string            // directory whose files become the root partition's
}

// A card's layout in sectors.
const (
	bootStart = 8192
	bootSize  = 64 << 11 // 64 MiB: the least for FAT32 with clusters of a sector is 33
	rootStart = bootStart + bootSize
	rootSize  = 128 << 11
)

// Image writes an image of the card and returns its path. Its size is not one
// that QEMU takes as it is.
func (c Card) Image(t testing.TB) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "card.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, (rootStart+rootSize)*mbr.SectorSize); err != nil {
		t.Fatal(err)
	}
	label := exec.Command("/usr/sbin/sfdisk", "--quiet", image)
	label.Stdin = strings.NewReader(fmt.Sprintf("label: dos\nlabel-id: 0xc1a55e77\nstart=%d, size=%d, type=c\nstart=%d, size=%d, type=83\n",
		bootStart, bootSize, rootStart, rootSize))
	run(t, label)
	run(t, exec.Command("/usr/sbin/mkfs.fat", "-F", "32", "-s", "1", "-n", "bootfs",
		"--offset", fmt.Sprint(bootStart), image, fmt.Sprint(bootSize*mbr.SectorSize/1024)))
	for _, name := range slices.Sorted(maps.Keys(c.Boot)) {
		run(t, exec.Command("mcopy", "-i", fmt.Sprintf("%s@@%d", image, bootStart*mbr.SectorSize), c.Boot[name], "::"+name))
	}
	run(t, exec.Command("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-L", "rootfs", "-d", c.Root,
		"-O", "^64bit,^huge_file", "-E", fmt.Sprintf("offset=%d", rootStart*mbr.SectorSize), image, fmt.Sprint(rootSize*mbr.SectorSize/1024)))
	return image
}

// BootFile returns what a file of the boot partition of an image holds.
func BootFile(t testing.TB, image, name string) string {
	t.Helper()
	return run(t, exec.Command("mtype", "-i", fmt.Sprintf("%s@@%d", image, bootStart*mbr.SectorSize), "::"+name))
}
