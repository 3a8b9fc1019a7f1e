package gadget

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/lab/labtest/vm"
)

// TestMachine has Linux judge the gadget: it boots a virtual machine whose only
// program is this test, see [inMachine]. The machine has a device controller
// that is wired to a USB port of its own.
func TestMachine(t *testing.T) {
	if vm.Inside() {
		inMachine(t)
		return
	}
	kernel := labtest.NewKernel(t, labtest.AMD64)
	files := udevFiles(t)
	files[compositePath[1:]] = labtest.Program(t, labtest.AMD64, "../../../cmd/clusterctrl")
	maps.Copy(files, moduleFiles(t, filepath.Join(filepath.Dir(kernel.Image), "lib/modules")))
	vm.Boot(t, labtest.Initramfs{Files: files})
}

// The modules that the machine needs. The last ones are for its part as a USB host.
var machineModules = []string{
	"configfs", "libcomposite", "u_ether", "u_serial", "usb_f_rndis", "usb_f_ncm", "usb_f_ecm", "usb_f_acm", "udc-core",
	"usb-common", "usbcore", "dummy_hcd", "mii", "usbnet", "cdc_ether", "rndis_host", "cdc_ncm", "cdc-acm",
	"usbip-core", "vhci-hcd", "i2c-tiny-usb", "i2c-dev",
}

// compressors are for modules that are to be compressed in the machine.
var compressors = map[string][]string{
	"u_ether":     {".xz", "xz", "--check=crc32", "-c"},
	"usb_f_rndis": {".zst", "zstd", "-c"},
	"usb_f_ncm":   {".gz", "gzip", "-c"},
}

// moduleFiles are the part of /lib/modules that the machine needs: where they
// are there and where they come from.
func moduleFiles(t *testing.T, dir string) map[string]string {
	indices, err := filepath.Glob(filepath.Join(dir, "*/modules.dep"))
	if err != nil || len(indices) != 1 {
		t.Fatalf("modules.dep in %s: %q, %v; want one", dir, indices, err)
	}
	index, err := os.ReadFile(indices[0])
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Dir(indices[0])
	release := "lib/modules/" + filepath.Base(top)
	files, dep := map[string]string{}, string(index)
	for _, module := range machineModules {
		var name string
		for line := range strings.Lines(string(index)) {
			if file, _, _ := strings.Cut(line, ":"); filepath.Base(file) == module+".ko" {
				name = file
			}
		}
		if name == "" {
			t.Fatalf("no module %s in %s", module, indices[0])
		}
		source := filepath.Join(top, name)
		if c, ok := compressors[module]; ok {
			source = compress(t, source, c[1:])
			dep = strings.ReplaceAll(dep, "/"+module+".ko", "/"+module+".ko"+c[0])
			name += c[0]
		}
		files[release+"/"+name] = source
	}
	files[release+"/modules.dep"] = write(t, []byte(dep))
	files[release+"/modules.dep.bin"] = filepath.Join(top, "modules.dep.bin") // which udev reads
	return files
}

// compress returns a compressed copy of a file.
func compress(t *testing.T, name string, command []string) string {
	packed, err := exec.Command(command[0], append(command[1:], name)...).Output()
	if err != nil {
		t.Fatalf("%v: %v (apt-get install xz-utils gzip zstd)", command, err)
	}
	return write(t, packed)
}

// write returns a file that holds data.
func write(t *testing.T, data []byte) string {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
