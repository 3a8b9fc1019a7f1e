package gadget

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestAwait is about device controllers that are listed, but take no gadget yet,
// or never do.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		settlesAt := func(n int) func() (progress, error) {
			tries = 0
			return func() (progress, error) {
				if tries++; tries == n {
					return bound, nil
				}
				return settling, nil
			}
		}
		o := Options{}.withDefaults()
		if err := o.await(t.Context(), settlesAt(4)); err != nil || tries != 4 {
			t.Errorf("await() = %v after %d tries; want success after 4", err, tries)
		}
		if err := o.await(t.Context(), settlesAt(unlimited)); !errors.Is(err, errWaited) || tries > 20 {
			t.Errorf("await() = %v after %d tries; want %v, after few", err, tries, errWaited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := o.await(ctx, settlesAt(unlimited)); !errors.Is(err, context.Canceled) {
			t.Errorf("await() = %v; want %v", err, context.Canceled)
		}
	})
}

func TestUSBBootMount(t *testing.T) {
	const root = "172.19.180.254:/var/lib/clusterctrl/nfs/p7"
	for _, tt := range []struct{ name, mounts, source, dir string }{
		{"card", "/dev/mmcblk0p2 / ext4 rw 0 0\nproc /proc proc rw 0 0\n", "", ""},
		{"USB boot", "rootfs / rootfs rw 0 0\n" + root + " / nfs rw,vers=3,addr=172.19.180.254 0 0\n", root, "/"},
		{"version 4", root + " / nfs4 rw 0 0\n", root, "/"},
		{"disk", "/dev/nbd0p2 / ext4 rw 0 0\n", "/dev/nbd0p2", "/"},
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
