package recipe

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

const cmdline = "boot/firmware/cmdline.txt"

// after returns what an edit makes of a command line on a stock system.
func after(t *testing.T, e edit.Edit, before string) (string, error) {
	t.Helper()
	_, base := stockTree(t, rootfs.NetworkManager)
	tree := rootfs.NewOverlay(base)
	if err := tree.WriteFile(cmdline, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	err := e.Apply(tree)
	got, _ := fs.ReadFile(tree, cmdline)
	return string(got), err
}

func TestStartBranding(t *testing.T) {
	const ours = "init=/usr/sbin/reconfig-clusterctrl"
	start := func(role node.Role, arch rootfs.Arch) edit.Edit { return StartBranding{"boot/firmware", role, arch} }
	for _, tt := range []struct {
		name         string
		edit         edit.Edit
		before, want string // want "" for an error
	}{
		{"stock", start(node.CBridge, rootfs.ARM64), "a rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n", "a rootwait clusterctrl.vendor " + ours + " cbridge\n"},
		{"older", start(node.CBridge, rootfs.ARMHF), "a quiet init=/usr/lib/raspi-config/init_resize.sh\n", "a quiet clusterctrl.vendor " + ours + " cbridge\n"},
		{"two of the vendor's", start(node.CBridge, rootfs.ARM64), "init=/usr/lib/raspi-config/init_resize.sh a init=/usr/lib/raspberrypi-sys-mods/firstboot\n", "clusterctrl.vendor a " + ours + " cbridge\n"},
		{"trixie", start(node.CBridge, rootfs.ARM64), "a resize b\n", "a resize b " + ours + " cbridge\n"},
		{"padded", start(node.ID(7).Role(), rootfs.ARM64), "a\n", "a " + ours + " p7     \n"},
		{"again", start(node.ID(7).Role(), rootfs.ARM64), "a " + ours + " cbridge\n", "a " + ours + " p7     \n"},
		{"in /sbin", start(node.CNAT, rootfs.ARM64), "init=/sbin/reconfig-clusterctrl c a\n", "a " + ours + " cnat   \n"},
		{"Imager's", start(node.CNAT, rootfs.ARM64), "a systemd.run=/boot/firstrun.sh systemd.unit=x.target\n", "a " + ours + " cnat systemd.run=/boot/firstrun.sh systemd.unit=x.target   \n"},
		{"longest", start(node.CBridge, rootfs.ARM64), strings.Repeat("x", 467) + "\n", strings.Repeat("x", 467) + " " + ours + " cbridge\n"},
		{"too long", start(node.CBridge, rootfs.ARM64), strings.Repeat("x", 468) + "\n", ""},
		{"two lines", start(node.CBridge, rootfs.ARM64), "a\nb\n", ""},
		{"empty", start(node.CBridge, rootfs.ARM64), "\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := after(t, tt.edit, tt.before)
			if tt.want == "" {
				if err == nil || got != tt.before {
					t.Errorf("got %q, %v; want an error and no change", got, err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

// TestMarkIsNoTrigger: the vendor's scripts in the initramfs search the whole line
// for these, and would grow the root before the branding.
func TestMarkIsNoTrigger(t *testing.T) {
	line, err := after(t, StartBranding{"boot/firmware", node.ID(7).Role(), rootfs.ARM64}, stockLine)
	if err != nil || strings.Contains(line, "firstboot") || strings.Contains(line, " resize") {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestFinishBranding(t *testing.T) {
	for _, tt := range []struct{ name, before, want string }{
		{"first time", "a clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl p7     \n", "a init=/usr/lib/raspberrypi-sys-mods/firstboot\n"},
		{"second time", "a init=/usr/sbin/reconfig-clusterctrl p7\n", "a\n"},
		{"serial console", "console=ttyGS0 console=ttyGS0,115200 console=tty1 a\n", "console=tty1 a\n"},
		{"several", "init=/sbin/reconfig-clusterctrl p1 a init=/usr/sbin/reconfig-clusterctrl p2\n", "a\n"},
		{"kernel's words between", "a init=/usr/sbin/reconfig-clusterctrl quiet x=y p7 b p8\n", "a quiet x=y b p8\n"},
		{"bad role", "a init=/usr/sbin/reconfig-clusterctrl p253 b\n", "a b\n"},
		{"bad role, first time", "a clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl p253\n", "a init=/usr/lib/raspberrypi-sys-mods/firstboot\n"},
		{"no role", "a init=/usr/sbin/reconfig-clusterctrl quiet\n", "a quiet\n"},
		{"two marks", "a clusterctrl.vendor b clusterctrl.vendor init=/usr/sbin/reconfig-clusterctrl p7\n", "a init=/usr/lib/raspberrypi-sys-mods/firstboot b\n"},
		{"Imager's", "a init=/usr/sbin/reconfig-clusterctrl p7 systemd.run=/x systemd.unit=y\n", "a systemd.run=/x systemd.unit=y\n"},
		{"changed since", "root=PARTUUID=9-02 resize init=/usr/sbin/reconfig-clusterctrl p7\n", "root=PARTUUID=9-02 resize\n"},
		{"blank second line", "a init=/usr/sbin/reconfig-clusterctrl p7\n\n", "a\n"},
		{"somebody's init", "a init=/bin/sh\n", "a init=/bin/sh\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := after(t, finishBranding{"boot/firmware"}, tt.before); err != nil || got != tt.want {
				t.Errorf("got %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

// TestRebrand puts any role after any other into any line: as many bytes, one
// role, and no other word touched.
func TestRebrand(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "console=tty1", "root=PARTUUID=1-02", "resize", `b="c d"`, "systemd.run=/x", "systemd.unit=y"})
	rapid.Check(t, func(t *rapid.T) {
		words := edit.CommandLine(rapid.SliceOfN(word, 0, 5).Draw(t, "words"))
		text := roleLine(words, someRole.Draw(t, "old")) + "\n"
		role := someRole.Draw(t, "new")
		got, err := Rebrand(text, role)
		if err != nil || len(got) != len(text) {
			t.Fatalf("%q became %q, %v", text, got, err)
		}
		parsed, err := edit.ParseCommandLine(got)
		if err != nil {
			t.Fatal(err)
		}
		if pending, ok := PendingRole(parsed); !ok || pending != role {
			t.Fatalf("%q brands with %v, want %v", got, pending, role)
		}
		if rest, _ := cutRole(parsed); !slices.Equal(rest, words) {
			t.Fatalf("%q has words %q, want %q", got, rest, words)
		}
	})
	if _, err := Rebrand("a b\n", node.CNAT); err == nil {
		t.Error("a line without a role was taken")
	}
}
