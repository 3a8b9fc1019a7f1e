package rootfs

import "testing"

func TestBootEntry(t *testing.T) {
	for _, tt := range []struct{ name, fstab, dir, source string }{
		{"bookworm", "PARTUUID=1-01  /boot/firmware  vfat    defaults          0       2\nPARTUUID=1-02 / ext4 defaults,noatime 0 1\n", "boot/firmware", "PARTUUID=1-01"},
		{"bullseye", "PARTUUID=1-01 /boot vfat defaults 0 2\n", "boot", "PARTUUID=1-01"},
		{"options", "LABEL=bootfs\t/boot/firmware\tvfat\tnofail,noauto,x-systemd.automount\t0\t0\n", "boot/firmware", "LABEL=bootfs"},
		{"type found out at mount", "/dev/mmcblk0p1 /boot/firmware/ auto defaults 0 2\n", "boot/firmware", "/dev/mmcblk0p1"},
		{"commented out", "#PARTUUID=1-01 /boot vfat defaults 0 2\nPARTUUID=2-01 /boot/firmware vfat defaults 0 2\n", "boot/firmware", "PARTUUID=2-01"},
		{"bind mount", "/boot/firmware /boot none bind 0 0\nPARTUUID=2-01 /boot/firmware vfat defaults 0 2\n", "boot/firmware", "PARTUUID=2-01"},
		{"NFS", "172.19.180.254:/p7/boot/firmware /boot/firmware nfs defaults 0 0\n", "", ""},
		{"nothing", "proc /proc proc defaults 0 0\n\n", "", ""},
	} {
		dir, source, ok := BootEntry(tt.fstab)
		if dir != tt.dir || source != tt.source || ok != (tt.dir != "") {
			t.Errorf("%s: %q, %q, %t; want %q, %q", tt.name, dir, source, ok, tt.dir, tt.source)
		}
	}
}
