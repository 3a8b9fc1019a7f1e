package usbroot

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"pgregory.net/rapid"
)

// good is a command line as controllers in the field give it to a node.
const good = "console=serial0,115200 root=/dev/nfs nfsroot=172.19.180.254:/var/lib/clusterctrl/nfs/p5 rw ip=172.19.180.5:172.19.180.254::255.255.255.0:p5:usb0.10:static fsck.mode=skip rootwait\n"

// onADisk is a command line as rpiboot makes it of that of a card.
const onADisk = "nbdroot=172.19.180.254/p5 console=serial0,115200 root=PARTUUID=5eed0005-02 rootfstype=ext4 fsck.repair=yes rootwait init=/usr/sbin/reconfig-clusterctrl p5\n"

func TestParseCommandLine(t *testing.T) {
	disk := Plan{ID: 5, Gadget: node.ECM, Server: netip.MustParseAddr("172.19.180.254"), PARTUUID: "5eed0005-02", Type: "ext4", Init: "/usr/sbin/reconfig-clusterctrl"}
	plan := Plan{ID: 5, Gadget: node.ECM, Server: netip.MustParseAddr("172.19.180.254"), Root: "/var/lib/clusterctrl/nfs/p5", Writable: true, Init: "/sbin/init"}
	ncm := plan
	ncm.Gadget, ncm.Init, ncm.Writable = node.NCM, "/bin/sh", false
	for _, tt := range []struct {
		name, line string
		want       Plan
		err        string // what the error says
	}{
		{"as branded", good, plan, ""},
		{"with options of NFS", strings.Replace(good, "/p5 ", "/p5,vers=3 ", 1), plan, ""},
		{"the last word counts", "nfsroot=1.2.3.4:/p1 " + good + " ro clusterctrl.gadget=ncm init=/bin/sh", ncm, ""},
		{"no root", "console=tty1", Plan{}, "nfsroot=: want 172.19.180.254:/var/lib/clusterctrl/nfs/p<n>"},
		{"no number", strings.Replace(good, "nfs/p5", "nfs/pX", 1), Plan{}, `node "pX": want p1 to p252`},
		{"placeholder", strings.ReplaceAll(good, "p5", "p253"), Plan{}, `node "p253": want p1 to p252`},
		{"relative", strings.Replace(good, ":/var", ":var", 1), Plan{}, "nfsroot=172.19.180.254:var"},
		{"server's name", strings.Replace(good, "=172.19.180.254:", "=controller:", 1), Plan{}, "nfsroot=controller:"},
		{"two numbers", strings.Replace(good, "ip=172.19.180.5:", "ip=172.19.180.6:", 1), Plan{}, "want 172.19.180.5"},
		{"two names", strings.Replace(good, ":p5:", ":p6:", 1), Plan{}, "as nfsroot= is that of p5"},
		{"another link", strings.Replace(good, "usb0.10", "usb0", 1), Plan{}, "want 172.19.180.5, p5 and usb0.10"},
		{"no address", strings.Replace(good, " ip=", " pi=", 1), Plan{}, "ip=: want 172.19.180.5:172.19.180.254::255.255.255.0:p5:usb0.10:static"},
		{"disk", onADisk, disk, ""},
		{"disk, with an address", onADisk + " ip=172.19.180.5:172.19.180.254::255.255.255.0:p5:usb0.10:static", disk, ""},
		{"disk, of a type that is not said", strings.Replace(onADisk, "rootfstype=ext4 ", "", 1), disk, ""},
		{"disk of another's address", onADisk + " ip=172.19.180.6:172.19.180.254::255.255.255.0:p5:usb0.10:static", Plan{}, "want 172.19.180.5, p5 and usb0.10, as nbdroot= is that of p5"},
		{"disk and NFS", onADisk + good, Plan{}, "nbdroot=172.19.180.254/p5 and nfsroot=172.19.180.254:/var/lib/clusterctrl/nfs/p5: want one of them"},
		{"disk of nobody", strings.Replace(onADisk, "/p5 ", "/p0 ", 1), Plan{}, `nbdroot=172.19.180.254/p0: node "p0": want p1 to p252`},
		{"disk without a server", strings.Replace(onADisk, "=172.19.180.254/", "=/", 1), Plan{}, "nbdroot=/p5: want 172.19.180.254/p<n>"},
		{"disk's root by a name", strings.Replace(onADisk, "PARTUUID=5eed0005-02", "/dev/mmcblk0p2", 1), Plan{}, "root=/dev/mmcblk0p2: want PARTUUID= of a partition of the node's disk"},
		{"no such card", good + " clusterctrl.gadget=eem", Plan{}, "clusterctrl.gadget=eem: want one of [rndis ncm ecm]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCommandLine(tt.line)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			if err == nil && got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	p, err := ParseCommandLine(good)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"4.2": "vers=4.2,proto=tcp,addr=172.19.180.254,clientaddr=172.19.180.5",
		"3":   "vers=3,proto=tcp,addr=172.19.180.254,mountproto=tcp,mountaddr=172.19.180.254,nolock",
	} {
		if got := p.options(version); got != want {
			t.Errorf("version %s: %s, want %s", version, got, want)
		}
	}
}

// TestParseCommandLineNeverGuesses draws command lines: one that is taken has the same
// number everywhere.
func TestParseCommandLineNeverGuesses(t *testing.T) {
	words := strings.Fields(good + onADisk)
	rapid.Check(t, func(t *rapid.T) {
		line := strings.Join(rapid.SliceOf(rapid.OneOf(rapid.SampledFrom(words), rapid.String())).Draw(t, "words"), " ")
		p, err := ParseCommandLine(line)
		if err == nil && !strings.Contains(line, fmt.Sprintf("/%v", p.ID)) {
			t.Fatalf("%q was taken for %v", line, p.ID)
		}
	})
}
