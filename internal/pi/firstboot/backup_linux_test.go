package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/tree/recipe"
)

// The copy of the command line is a courtesy: without room for it, the Pi is branded.
func TestNoRoomForBackup(t *testing.T) {
	for _, tt := range []struct {
		lacking string
		prepare func(t *testing.T, free int) *pi
	}{
		{"clusters", func(t *testing.T, free int) *pi {
			p := newPi()
			p.ask(t, "p7")
			fillBoot(t, p, free)
			return p
		}},
		{"entries of a FAT16's root directory", func(t *testing.T, free int) *pi {
			p := withBoot(labtest.NewDisk(fullFAT16(t, free)))
			p.ask(t, "p7")
			return p
		}},
	} {
		t.Run(tt.lacking, func(t *testing.T) {
			without, refused := 0, ""
			for free := range 12 {
				p := tt.prepare(t, free)
				m, files := p.start("p7"), p.files(t)
				if _, failed := files[ErrorFile]; failed || m.restarts != 1 {
					refused = strings.Join(m.said, "\n")
					continue
				}
				if recipe.StartsBranding(files[CommandLine]) || !strings.Contains(files["config.txt"], "dr_mode=peripheral") {
					t.Errorf("%d free: %q", free, files)
				}
				if _, ok := files[Backup]; !ok {
					without++
				}
			}
			if without == 0 {
				t.Errorf("no Pi was branded without room for %s, the last one says:\n%s", Backup, refused)
			}
		})
	}
}

// fillBoot leaves so many clusters of the boot partition free.
func fillBoot(t *testing.T, p *pi, free int) {
	t.Helper()
	boot, err := fat.OpenVolume(p, p.Size())
	must(err)
	fsys, err := boot.FS()
	must(err)
	info, err := fsys.Info()
	must(err)
	write(t, p, "filler", strings.Repeat("x", (info.FreeClusters-free)*info.ClusterSize))
}

// fullFAT16 is the image's boot partition as a FAT16, whose root directory does not grow
// and has so many entries free.
func fullFAT16(t *testing.T, free int) memory {
	t.Helper()
	file := filepath.Join(t.TempDir(), "boot")
	const kilobytes, entries = "8192", "64" // of 512 bytes each cluster, so more than FAT12 has
	if out, err := exec.Command("mkfs.fat", "-C", "-F", "16", "-s", "1", "-r", entries, file, kilobytes).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.fat: %v (apt-get install dosfstools)\n%s", err, out)
	}
	content, err := os.ReadFile(file)
	must(err)
	disk := memory(content)
	boot, err := fat.Open(disk, int64(len(disk)))
	must(err)
	must(copyBoot(boot))
	fillers := 0
	for ; err == nil; fillers++ {
		err = boot.WriteFile(fmt.Sprintf("FILLER%d", fillers), nil, 0)
	}
	if !errors.Is(err, fat.ErrNoSpace) {
		t.Fatal(err)
	}
	for range free {
		fillers--
		must(boot.Remove(fmt.Sprintf("FILLER%d", fillers-1)))
	}
	must(boot.Close())
	return disk
}

// copyBoot copies all files of the image's boot partition.
func copyBoot(to *fat.FS) error {
	image := imageBoot()
	from, err := fat.Open(image, int64(len(image)))
	if err != nil {
		return err
	}
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			return to.Mkdir(name, 0)
		}
		data, err := from.ReadFile(name)
		if err != nil {
			return err
		}
		return to.WriteFile(name, data, 0)
	})
}
