package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/node"
)

// bootFiles are what a node without a card is given: what it starts is real, the firmware
// is not. commandLine is that of the kernel.
func bootFiles(t *testing.T, commandLine string) map[string]string {
	t.Helper()
	kernel := labtest.NewKernel(t, labtest.ARM64)
	const tree = "bcm2837-rpi-zero-2-w.dtb"
	files := map[string]string{
		"kernel8.img": kernel.Image,
		tree:          kernel.Tree(tree),
		"initramfs8": kernel.Initramfs(t, labtest.Initramfs{
			Init: labtest.Program(t, labtest.ARM64, "../../cmd/usbroot-clusterctrl"), Modules: []string{"libcomposite", "usb_f_ecm", "usb_f_acm", "8021q"},
		}),
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bootcode.bin": "the second part", "start.elf": "the third part",
		"config.txt": "[pi02]\nauto_initramfs=1\n[all]\ndtoverlay=dwc2,dr_mode=peripheral\n", "cmdline.txt": commandLine + "\n",
	} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]string{}
	for name, from := range files {
		all["boot/"+name] = from
	}
	return all
}

// TestBare has a node without a card start from what the controller gives it, and be
// what its kernel makes of it on the same cable then.
func TestBare(t *testing.T) {
	moreMachines(t)
	const id node.ID = 5
	line := fmt.Sprintf("console=serial0,115200 root=/dev/nfs nfsroot=%v:%s rw ip=%v:%[1]v::255.255.255.0:%[4]v:%s:static",
		node.ControllerNFSAddr, id.NFSRoot(), id.NFSAddr(), id, node.NFSLink)
	r := startRig(t, false, bootFiles(t, line), lab.MemberConfig{Name: id.String(), Bare: true})
	r.hears(t, "cnat: on")
	c := r.console(t, "cnat", 1)
	do(t, c, "bind 3171 0011", "done")
	do(t, c, "i2c-0 0c 05", "done") // p5 is on port 1 of the root hub, and the board on port 2
	do(t, c, "i2c-0 0d 11", "done")
	do(t, c, "i2c-0 05", "01")
	do(t, c, "i2c-0 06", "ff")
	do(t, c, "i2c-0 0c 00", "done")
	do(t, c, "i2c-0 0d 11", "done")
	do(t, c, "i2c-0 05", "02")

	const port = "/sys/bus/usb/devices/1-1"
	do(t, c, "i2c-0 0c 05", "done")
	do(t, c, "i2c-0 0d 03", "done")
	r.hears(t, "p5: on, without a card")
	r.is(t, "cnat on, p5 on in")
	do(t, c, "cat "+port+"/idProduct", "2764") // it waits
	r.ask(t, lab.AskUnplug, "p5")
	do(t, c, "gone "+port, "done")
	r.ask(t, lab.AskPlug, "p5")
	do(t, c, "cat "+port+"/idProduct", "2764")
	do(t, c, "i2c-0 0d 04", "done") // and loses its power
	r.hears(t, "p5: power cut")
	do(t, c, "gone "+port, "done")
	r.is(t, "cnat on, p5 off in")
	do(t, c, "i2c-0 0d 03", "done")
	r.hears(t, "p5: on, without a card")

	do(t, c, "rpiboot /boot", "done")
	expectLines(t, c, "rpiboot: 1-1 bootcode sent.", "rpiboot: 1-1 firmware sent.", "rpiboot: 1-1 system sent.")
	r.hears(t, "p5: has its boot files")
	do(t, c, "cat "+port+"/product", node.USBBootProduct)
	_, conn, err := lab.Ask(r.socket, lab.Request{Do: lab.AskConsole, Machine: "p5"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p5 := lab.NewConsole(conn, conn, nil)
	if _, err := p5.Expect(t.Context(), "clusterctrl: usb0.10: waiting for the controller"); err != nil {
		t.Fatal(err)
	}
	r.ask(t, lab.AskUnplug, "p5")
	do(t, c, "gone "+port, "done")
	r.ask(t, lab.AskPlug, "p5")
	do(t, c, "cat "+port+"/product", node.USBBootProduct)
	r.ask(t, lab.AskCut, "p5")
	r.hears(t, "p5: power cut")
	do(t, c, "gone "+port, "done")
	r.ask(t, lab.AskOn, "p5") // all from the beginning
	r.hears(t, "p5: on, without a card", "p5: has its boot files")
	do(t, c, "cat "+port+"/product", node.USBBootProduct)
}

// TestBareRestarts gives a node without a card a command line from which its first
// program learns nothing: it restarts, and asks for its files again.
func TestBareRestarts(t *testing.T) {
	moreMachines(t)
	r := startRig(t, true, bootFiles(t, "quiet"), lab.MemberConfig{Name: "p5", Bare: true})
	r.hears(t, "cnat: on", "p5: on, without a card")
	c := r.console(t, "cnat", 1)
	do(t, c, "rpiboot /boot", "done")
	r.hears(t, "p5: has its boot files")
	r.hears(t, "p5: restarts, without a card")
	r.hears(t, "p5: has its boot files")
}

func expectLines(t *testing.T, c *lab.Console, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if _, err := c.ExpectLine(t.Context(), regexp.MustCompile(regexp.QuoteMeta(line))); err != nil {
			t.Fatal(err)
		}
	}
}
