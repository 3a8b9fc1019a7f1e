package disk

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/node"
)

const partitionStart = 1 << 20

// bootImage returns an image whose only partition is FAT and holds files. mkfs.fat and
// mtools make it.
func bootImage(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	partition := filepath.Join(dir, "partition")
	if err := os.WriteFile(partition, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	must[string](t)(client("mkfs.fat", "-F", "16", "-s", "1", partition))
	must[string](t)(client("mmd", "-i", partition, "::overlays"))
	for name, text := range files {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		must[string](t)(client("mcopy", "-i", partition, file, "::"+name))
	}
	content := append(make([]byte, partitionStart), must[[]byte](t)(os.ReadFile(partition))...)
	setPartition(content, 8<<20)
	return content
}

// setPartition writes a table whose first partition has size bytes.
func setPartition(image []byte, size uint32) {
	image[446+4] = 0x0c
	binary.LittleEndian.PutUint32(image[446+8:], partitionStart/sector)
	binary.LittleEndian.PutUint32(image[446+12:], size/sector)
	image[510], image[511] = 0x55, 0xaa
}

func TestBootFiles(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	content := bootImage(t, map[string]string{
		"cmdline.txt": "root=PARTUUID=1-02 rootwait init=/usr/sbin/reconfig-clusterctrl p5\n", "config.txt": "arm_64bit=1\n",
		"kernel8.img": "kernel", "initramfs8": "vendor's", "clusterctrl-initramfs8": "ours", "initramfs7": "vendor's of 7",
		"overlays/dwc2.dtbo": "overlay",
	})
	add(t, d, content, 5)
	files, closeFiles, err := d.BootFiles("p5")
	if err != nil {
		t.Fatal(err)
	}
	defer closeFiles()
	for name, want := range map[string]string{
		"cmdline.txt":            "nbdroot=172.19.180.254/p5 root=PARTUUID=1-02 rootwait init=/usr/sbin/reconfig-clusterctrl p5\n",
		"CMDLINE.TXT":            "nbdroot=172.19.180.254/p5 root=",
		"config.txt":             "\n[all]\nauto_initramfs=1\n",
		"kernel8.img":            "kernel",
		"initramfs8":             "ours",
		"clusterctrl-initramfs8": "ours",
		"initramfs7":             "vendor's of 7",
		"overlays/dwc2.dtbo":     "overlay",
	} {
		text, err := fs.ReadFile(files, name)
		info, statErr := fs.Stat(files, name)
		if err != nil || statErr != nil || !strings.Contains(string(text), want) || info.Size() != int64(len(text)) || !info.Mode().IsRegular() {
			t.Errorf("%s: %q, %v, %v, want %q", name, text, err, statErr, want)
		}
	}
	if _, err := files.Open("start.elf"); err == nil {
		t.Error("a file that is not there")
	}

	// What the node writes and flushes is what it starts from next.
	o := must[*opened](t)(d.open(5))
	at := int64(bytes.Index(content, []byte("kernel")))
	if _, err := o.WriteAt([]byte("KERNEL"), at); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(); err != nil {
		t.Fatal(err)
	}
	again, closeAgain, err := d.BootFiles("p5") // while the disk is in use
	if err != nil {
		t.Fatal(err)
	}
	defer closeAgain()
	if text, err := fs.ReadFile(again, "kernel8.img"); string(text) != "KERNEL" || err != nil {
		t.Errorf("after a change: %q, %v", text, err)
	}
	o.Close()
}

// TestBadBootFiles has nodes write what the controller must not believe.
func TestBadBootFiles(t *testing.T) {
	good := map[string]string{"cmdline.txt": "root=x\n"}
	for name, tt := range map[string]struct {
		files map[string]string
		spoil func(image []byte)
		want  string
	}{
		"no table":        {good, func(image []byte) { image[510] = 0 }, "no partition table"},
		"no partition":    {good, func(image []byte) { clear(image[446:510]) }, "boot partition"},
		"outside":         {good, func(image []byte) { setPartition(image, 1<<31) }, "partition 1 "},
		"no file system":  {good, func(image []byte) { clear(image[partitionStart:][:sector]) }, "boot partition: corrupt file system"},
		"no line":         {map[string]string{"config.txt": "x"}, nil, "cmdline.txt"},
		"a line of zeros": {map[string]string{"cmdline.txt": "\x00\x00\n"}, nil, "cmdline.txt: it has zero bytes"},
		"a line too long": {map[string]string{"cmdline.txt": strings.Repeat("x", 5<<20)}, nil, ""},
	} {
		d := Dir{Path: t.TempDir()}
		content := bootImage(t, tt.files)
		if tt.spoil != nil {
			tt.spoil(content)
		}
		a := adding(content)
		a.Sectors = func(string, []node.ID) ([]Sector, error) {
			s := Sector{Offset: 700 << 10} // before the partition, which none of this is about
			return []Sector{s}, nil
		}
		if err := d.Add(t.Context(), a, 5); err != nil {
			t.Fatal(err)
		}
		_, closeFiles, err := d.BootFiles("p5")
		if err == nil {
			closeFiles()
		}
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	for _, below := range []string{"p5", "base", "../nfs/p5", "p5/x", ""} {
		if _, _, err := (Dir{Path: t.TempDir()}).BootFiles(below); err == nil {
			t.Errorf("%q: opened", below)
		}
	}
}

// TestVouch: a node is who its USB port says.
func TestVouch(t *testing.T) {
	dir := t.TempDir()
	d := Dir{Path: filepath.Join(dir, "disk")}
	links, boot := filepath.Join(dir, "net"), filepath.Join(dir, "boot")
	for id, usbPath := range map[string]string{"ethupi5": "1-1.2", "ethupi6": "1-1.3", "ethupi7": "1-1.4"} {
		device := filepath.Join(dir, "devices", usbPath, usbPath+":1.0")
		if err := os.MkdirAll(device, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(links, id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(device, filepath.Join(links, id, "device")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(boot, 0o755); err != nil {
		t.Fatal(err)
	}
	for usbPath, target := range map[string]string{"1-1.2": d.file(5), "1-1.3": d.file(9)} {
		if err := os.Symlink(target, filepath.Join(boot, usbPath)); err != nil {
			t.Fatal(err)
		}
	}
	vouch := d.vouchByPath(links, boot)
	for id, want := range map[node.ID]string{
		5: "",
		6: "it has the address of p6, and is at USB path 1-1.3, whose boot files are in " + d.file(9),
		7: "", // no board tells
		8: "it has the address of p8, and there is no link ethupi8",
	} {
		if err := vouch(id); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%v: %v, want %q", id, err, want)
		}
	}
}
