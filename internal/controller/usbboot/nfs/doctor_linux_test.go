package nfs

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"clusterctrl/internal/node"
	"pgregory.net/rapid"
)

// TestDoctor has a controller lack one thing after the other, each of which is told, and
// told alone.
func TestDoctor(t *testing.T) {
	base := t.TempDir()
	shell(t, base, `mkdir -p usr/sbin proc/fs/nfsd proc/net/vlan etc/systemd/system/multi-user.target.wants sys/class/net/brint var/lib/clusterctrl/{boot,nfs}
touch usr/sbin/rpc.mountd proc/net/vlan/config && echo 8 >proc/fs/nfsd/threads
echo '/var/lib/clusterctrl/nfs/p5 172.19.180.5(rw,sync,no_subtree_check,no_root_squash)' >etc/exports
ln -s /x etc/systemd/system/multi-user.target.wants/clusterctrl-rpiboot.service
echo code >var/lib/clusterctrl/boot/bootcode.bin
ln -s /var/lib/clusterctrl/nfs/p5/boot/firmware var/lib/clusterctrl/boot/1-1.5`)
	r := openRoots(t, base+node.NFSRoots)
	if err := add(t, r, false, 5); err != nil {
		t.Fatal(err)
	}
	shell(t, base, `cd var/lib/clusterctrl/nfs/p5/boot/firmware && touch kernel8.img initramfs8 x.dtb && printf 'elf\0VC_BUILD_ID_TIME: 10:11:12\0VC_BUILD_ID_TIME: Dec  4 2025\0' >start.elf`)
	d := Doctor{Base: base, Links: map[node.ID]string{5: "1-1.5"}, HasAddr: func(string, string) bool { return true }}
	problems := func() (list []string) {
		for _, f := range d.Look(r, []node.ID{5}) {
			if f.Problem != "" {
				list = append(list, f.About+": "+f.Problem)
				if f.Remedy == "" {
					t.Errorf("%s: %s: and no remedy", f.About, f.Problem)
				}
			}
		}
		return list
	}
	if got := problems(); len(got) > 0 {
		t.Fatalf("of a controller that has all: %q", got)
	}
	const boot = "var/lib/clusterctrl/nfs/p5/boot/firmware/"
	for _, tt := range []struct{ damage, file, want string }{
		{"rm", "usr/sbin/rpc.mountd", "NFS server: it is not installed"},
		{"echo 0 >", "proc/fs/nfsd/threads", "NFS server: it does not run"},
		{"sed -i s/180.5/180.6/", "etc/exports", "exports: /etc/exports does not give p5 its root"},
		{"rm", "etc/exports", "exports: "},
		{"rm -r", "sys/class/net/brint", "bridge brint: it is not there"},
		{"rm", "etc/systemd/system/multi-user.target.wants/clusterctrl-rpiboot.service", "service of boot files: it is off"},
		{"rm", "var/lib/clusterctrl/boot/bootcode.bin", "bootcode.bin: no "},
		{"truncate -s 0", "var/lib/clusterctrl/boot/bootcode.bin", "bootcode.bin: /var"},
		{"ln -sfn /elsewhere", "var/lib/clusterctrl/boot/1-1.5", "p5 link: "},
		{"sed -i s,nfs/p5,nfs/p6,", boot + "cmdline.txt", "p5 identity: "},
		{"rm", boot + "kernel8.img", "p5 boot files: missing: kernel*.img"},
		{"rm", boot + "start.elf", "p5 firmware: no start.elf"},
		{"printf 'VC_BUILD_ID_TIME: Apr 14 2026\\0' >", boot + "start.elf", "p5 firmware: firmware of 2026-04-14 may not start a Zero 2 W over USB"},
	} {
		shell(t, base, "cp -a "+tt.file+" ../kept && "+tt.damage+" "+tt.file)
		if got := problems(); len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s %s: %q, want %q", tt.damage, tt.file, got, tt.want)
		}
		shell(t, base, "rm -rf "+tt.file+" && mv ../kept "+tt.file)
	}
}

// TestDoctorOfDisks: nodes whose systems are on disks start without an NFS server.
func TestDoctorOfDisks(t *testing.T) {
	for _, tt := range []struct {
		roots []node.ID
		disks bool
		want  bool // a warning
	}{
		{nil, true, true},
		{nil, false, false},
		{[]node.ID{5}, true, false},
	} {
		if f := (Doctor{Base: t.TempDir(), Disks: tt.disks}).server(tt.roots); f.Problem == "" || f.Maybe != tt.want {
			t.Errorf("%+v: %+v", tt, f)
		}
	}
}

func TestFirmwareDate(t *testing.T) {
	for text, want := range map[string]string{
		"VC_BUILD_ID_TIME: Apr 17 2024":                                        "2024-04-17",
		"x\x00VC_BUILD_ID_TIME: 12:10:52\x00VC_BUILD_ID_TIME: Jan  3 2026\x00": "2026-01-03",
		"VC_BUILD_ID_TIME: Apr":                                                "",
		"":                                                                     "",
	} {
		date, err := FirmwareDate(fstest.MapFS{"start.elf": {Data: []byte(text)}}, "start.elf")
		got := date.Format(time.DateOnly)
		if want == "" && err == nil || want != "" && got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) { // of any bytes, no panic
		_, _ = buildDate(strings.NewReader("VC_BUILD_ID_TIME: " + string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))))
	})
}
