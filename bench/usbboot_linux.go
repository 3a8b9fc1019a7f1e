package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"clusterctrl/internal/controller/usbboot/nfs"
	"clusterctrl/internal/image/archive"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// Verbs that make this program what is measured beside tar.
const (
	archiveVerb = "archive"
	rootVerb    = "root"
)

// runArchive does "archive FORMAT IMAGE OUT": the tree in a raw image as a packed tar file.
func runArchive(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("%s: want FORMAT, IMAGE and OUT", archiveVerb)
	}
	format, err := packed.ParseFormat(args[1])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[2], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	image, err := rootfs.OpenImage(f, info.Size()) // never closed: nothing is written
	if err != nil {
		return err
	}
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	stream := format.NewStream(ctx, out)
	return errors.Join(archive.Write(stream, image), stream.Close())
}

// runRoot does "root ARCHIVE DIR": p1's root in DIR, as "clusterctrl usbboot add" makes it.
func runRoot(ctx context.Context, args []string) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("%s: want ARCHIVE and DIR", rootVerb)
	}
	f, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer f.Close()
	roots, err := nfs.Open(args[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roots.Close()) }()
	return roots.Add(ctx, nfs.Addition{Archive: f}, node.MinID)
}

// measureUSBBoot compares making and unpacking the archive of a root for nodes without
// cards, and an initramfs for its kernels.
func measureUSBBoot(ctx context.Context, s *site) error {
	const ours, theirs = "ours", "tar | %s of the mounted partition"
	if err := s.keep(ctx, `xz -dc "$BASE" >../plain.img
"$CLUSTERCTRL" build ../plain.img --nodes 0 --no-nat --usbboot -q -o . && mv *-usbboot.tar.zst ../usbboot.tar.zst`); err != nil {
		return err
	}
	for _, format := range []packed.Format{packed.Zstd, packed.XZ} {
		program := map[packed.Format]string{packed.Zstd: "zstd -T0", packed.XZ: "xz -T0"}[format]
		name := fmt.Sprintf(theirs, program)
		err := s.hold(ctx, contest{"archive of a root, ." + string(format) + ", on " + s.title, []entry{
			{ours, fmt.Sprintf(`"$BENCH" archive %s ../plain.img out; sync -f .`, format)},
			{name, fmt.Sprintf(mountedTar, program)},
		}, []goal{faster(ours, name, 1)}})
		if err != nil {
			return err
		}
	}
	const tar = "tar -x"
	err := s.hold(ctx, contest{"unpack a root, on " + s.title, []entry{
		{ours, `"$BENCH" root ../usbboot.tar.zst .`},
		{tar, `mkdir p1 && tar -x --zstd --xattrs --xattrs-include='*' --acls --numeric-owner -p -f ../usbboot.tar.zst -C p1; sync -f .`},
	}, []goal{faster(ours, tar, 1)}})
	if err != nil {
		return err
	}
	if err := s.keep(ctx, `mkdir ../root && tar -x --zstd --numeric-owner -p -f ../usbboot.tar.zst -C ../root`); err != nil {
		return err
	}
	const mkinitramfs = "mkinitramfs"
	return s.hold(ctx, contest{"initramfs of each kernel in a root, on " + s.title, []entry{
		{ours, `"$CLUSTERCTRL" usbboot initramfs --root ../root; sync -f .`},
		{mkinitramfs, mountedModules},
	}, []goal{faster(ours, mkinitramfs, 10)}})
}

// mountedModules has mkinitramfs find the modules of the root's kernels as this machine's.
// Its programs are this machine's too, so that nothing is emulated.
const mountedModules = `unshare --mount sh -euc '
mkdir -p /lib/modules
mount --bind ../root/usr/lib/modules /lib/modules
for version in $(ls /lib/modules); do mkinitramfs -o "out-$version" "$version"; done'
sync -f .`

// mountedTar archives the root in plain.img with a program of the user's.
const mountedTar = `mkdir root
start=$(sfdisk -J ../plain.img | sed -n 's/.*"start": *\([0-9]*\).*/\1/p' | tail -n 1)
mount -o loop,ro,noload,offset=$((start * 512)) ../plain.img root
trap 'umount root' EXIT
tar -c --xattrs --acls --numeric-owner --sparse -C root . | %s >out
sync -f .`
