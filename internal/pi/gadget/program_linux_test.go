package gadget

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"clusterctrl/internal/node"
)

// compositePath is where the virtual machine has the program itself.
const compositePath = node.CompositePath

// program checks what users see: the exit status and a line.
func program(t *testing.T) {
	const root, nobody = 0, 65534
	const unruly = "# ID=3\r\nCLUSTERID=9\r\nTYPE=\"node\" # a node\r\nexport ID='7'\r\nGADGET=ncm;\r\nif true\r\n"
	const running = "gadget of p7 (ncm and serial console) on dummy_udc.0"
	for _, tt := range []struct {
		settings string // "-" for no file
		user     uint32
		verb     string
		status   int
		line     string // how it begins
	}{
		{"-", root, "start", 1, "clusterctrl: open /etc/default/clusterctrl: no such file or directory"},
		{"", root, "start", 0, "TYPE= is no node: no gadget to start"},
		{"TYPE=cnat\nID=900\n", root, "start", 0, "TYPE=cnat is no node: no gadget to start"},
		{"TYPE=node\n", root, "start", 1, "clusterctrl: /etc/default/clusterctrl: ID is missing: want 1 to 252"},
		{"TYPE=node\nID=254\n", root, "start", 1, "clusterctrl: /etc/default/clusterctrl: ID=254: want 1 to 252"},
		{"TYPE=usbboot\nID=7\nGADGET=eem\n", root, "start", 1, "clusterctrl: /etc/default/clusterctrl: GADGET=eem: want rndis, ncm or ecm"},
		{unruly, root, "stop", 0, "no gadget to stop"},
		{unruly, nobody, "start", 1, "clusterctrl: make ClusterCTRL: mkdir /sys/kernel/config/usb_gadget/ClusterCTRL: permission denied; run it as root"},
		{unruly, root, "start", 0, "started the " + running},
		{unruly, root, "start", 0, "the " + running + " runs already"},
		{unruly, nobody, "start", 0, "the " + running + " runs already"},
		{unruly, nobody, "stop", 1, "clusterctrl: unbind the gadget from dummy_udc.0: open /sys/kernel/config/usb_gadget/ClusterCTRL/UDC: permission denied; run it as root"},
		{"TYPE=node\nID=8\n", root, "start", 0, "took down an incomplete or different gadget, started the gadget of p8 (rndis and serial console) on dummy_udc.0"},
		{"-", root, "stop", 0, "stopped the gadget on dummy_udc.0"},
		{unruly, root, "", 2, "clusterctrl: composite: want start or stop; see --help"},
	} {
		os.Remove(node.SettingsFile)
		if tt.settings != "-" {
			if err := os.WriteFile(node.SettingsFile, []byte(tt.settings), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(compositePath, strings.Fields(tt.verb)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.user, Gid: tt.user}}
		out, err := cmd.CombinedOutput()
		line, more, _ := strings.Cut(string(out), "\n")
		if cmd.ProcessState.ExitCode() != tt.status || line != tt.line || more != "" {
			t.Errorf("%q as user %d with %q: %v:\n%s\nwant %d:\n%s", tt.verb, tt.user, tt.settings, err, out, tt.status, tt.line)
		}
	}
}
