package gadget

import "testing"

func TestUSBBootMount(t *testing.T) {
	const root = "172.19.180.254:/var/lib/clusterctrl/nfs/p7"
	for _, tt := range []struct{ name, mounts, source, dir string }{
		{"card", "/dev/mmcblk0p2 / ext4 rw 0 0\nproc /proc proc rw 0 0\n", "", ""},
		{"USB boot", "rootfs / rootfs rw 0 0\n" + root + " / nfs rw,vers=3,addr=172.19.180.254 0 0\n", root, "/"},
		{"version 4", root + " / nfs4 rw 0 0\n", root, "/"},
		{"under an overlay", "overlay / overlay rw 0 0\n" + root + " /media/root-ro nfs ro 0 0\n", root, "/media/root-ro"},
		{"of another network", "192.168.1.2:/pi / nfs rw,addr=192.168.1.2 0 0\n", "", ""},
		{"by name", "nas:/home /home nfs rw 0 0\n", "", ""},
		{"no NFS", "172.19.180.254:/x /mnt fuse.sshfs rw 0 0\n", "", ""},
		{"cut", "172.19.180.254:/x /mnt", "", ""},
	} {
		if source, dir := usbBootMount(tt.mounts); source != tt.source || dir != tt.dir {
			t.Errorf("%s: usbBootMount() = %q, %q; want %q, %q", tt.name, source, dir, tt.source, tt.dir)
		}
	}
}
