package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/tree/recipe"
)

// TestMakeInitramfs has a kernel's hook make the initramfs of a card, which is not to lose
// the vendor's, and of an NFS root, which has no other.
func TestMakeInitramfs(t *testing.T) {
	const vendors = "the vendor's"
	for settings, want := range map[string]string{
		"":                     recipe.InitramfsPrefix,
		"TYPE=node\nID=7\n":    recipe.InitramfsPrefix,
		"TYPE=c\nID=\n":        recipe.InitramfsPrefix,
		"TYPE=usbboot\nID=7\n": "",
	} {
		root := t.TempDir()
		files := map[string]string{
			"etc/fstab": "PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n",
			"usr/share/clusterctrl/usbroot-clusterctrl": "program",
			"boot/firmware/config.txt":                  "",
			"boot/firmware/initramfs8":                  vendors,
			"lib/modules/6.12.25-v8/modules.dep":        "",
		}
		if settings != "" {
			files["etc/default/clusterctrl"] = settings
		}
		for _, name := range []string{"libcomposite", "usb_f_ecm", "usb_f_ncm", "usb_f_rndis", "usb_f_acm", "dwc2", "8021q", "nbd"} {
			files["lib/modules/6.12.25-v8/kernel/"+name+".ko"] = name
			files["lib/modules/6.12.25-v8/modules.dep"] += "kernel/" + name + ".ko:\n"
		}
		for name, text := range files {
			name = filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := makeInitramfs(root, ""); err != nil {
			t.Fatalf("%q: %v", settings, err)
		}
		got, err := os.ReadFile(filepath.Join(root, "boot/firmware/initramfs8"))
		if err != nil || (string(got) == vendors) != (want != "") {
			t.Errorf("%q: initramfs8 is %.20q, %v", settings, got, err)
		}
		if _, err := os.Stat(filepath.Join(root, "boot/firmware", want+"initramfs8")); err != nil {
			t.Errorf("%q: %v", settings, err)
		}
	}
}

// TestOnCard says which systems an upgrade of a kernel must not stop for: a card starts from
// the vendor's initramfs, not from ours.
func TestOnCard(t *testing.T) {
	for _, tt := range []struct {
		settings, commandLine string
		running               bool
		want                  bool
	}{
		{"TYPE=usbboot\nID=7\n", "root=/dev/nfs\n", false, false},
		{"TYPE=node\nID=7\n", "root=PARTUUID=1-02\n", false, true},
		{"TYPE=node\nID=7\n", "nbdroot=172.19.180.254/p7\n", false, true}, // of this computer
		{"", "root=PARTUUID=1-02\n", true, true},
		{"", "root=PARTUUID=1-02 nbdroot=172.19.180.254/p7\n", true, false},
	} {
		root, commandLine := t.TempDir(), filepath.Join(t.TempDir(), "cmdline")
		if tt.running {
			root = "/" // which has no settings, as a computer that is not of a cluster
		} else if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		} else if err := os.Mkdir(filepath.Join(root, "etc/default"), 0o755); err != nil {
			t.Fatal(err)
		} else if err := os.WriteFile(filepath.Join(root, "etc/default/clusterctrl"), []byte(tt.settings), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(commandLine, []byte(tt.commandLine), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := onCard(root, commandLine); got != tt.want {
			t.Errorf("%q, %q: %v, want %v", tt.settings, tt.commandLine, got, tt.want)
		}
	}
	root := t.TempDir() // an empty directory, in which no kernel is
	cmd := usbbootInitramfsCommand()
	cmd.SetArgs([]string{"--root", root, "6.12.25-v8", "/boot/vmlinuz-6.12.25-v8"})
	var said strings.Builder
	cmd.SetErr(&said)
	if err := cmd.Execute(); err != nil || !strings.HasPrefix(said.String(), "warning: ") {
		t.Errorf("of a card: %v, said %q; want a warning", err, said.String())
	}
}
