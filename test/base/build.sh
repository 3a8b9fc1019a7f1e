#!/bin/bash
# build.sh RELEASE ROOT.tar OUT.img makes a base image from what debian.sh made:
# partitions, file systems and files as Raspberry Pi OS has them, with Debian's
# kernel in place of the vendor's. Without root, it runs itself under fakeroot.
set -euo pipefail
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin MTOOLS_SKIP_CHECK=1
umask 022

[ "$(id -u)" -eq 0 ] || exec fakeroot "$0" "$@"
here=$(cd "$(dirname "$0")" && pwd)
release=$1 tarball=$2 out=$3

# QEMU's SD cards want a power of two. The boot partition has the vendor's size.
sector=512 size=$((4 << 20)) boot_size=$((1 << 20)) # in sectors
case $release in
bookworm) disk_id=b00cb00c boot_start=8192 cluster=4 date=2025-05-13 programs="parted resize2fs" ;;
trixie) disk_id=731c1e00 boot_start=16384 cluster=1 date=2025-10-01 programs=parted ;;
*) echo "release $release: want bookworm or trixie" >&2 && exit 1 ;;
esac
root_start=$((boot_start + boot_size))
SOURCE_DATE_EPOCH=$(date -d $date +%s)
export SOURCE_DATE_EPOCH E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH

work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root boot=$work/boot
mkdir "$root" "$boot"

# Directories of modules that no board and no test of ours has a use for; the
# vendor's kernel has fewer, and they are the greater part of Debian's.
unused=(sound drivers/gpu drivers/media drivers/infiniband drivers/iio drivers/staging
	drivers/scsi drivers/net/ethernet drivers/net/wireless drivers/net/can drivers/ata drivers/crypto
	drivers/input drivers/hwmon drivers/mtd drivers/nvme drivers/thunderbolt drivers/firewire
	drivers/platform drivers/net/wwan drivers/power drivers/comedi drivers/target drivers/isdn)

# What the initramfs needs to mount an SD card's partitions.
modules="ext4 vfat nls_cp437 nls_ascii sdhci_iproc bcm2835 virtio_blk virtio_mmio virtio_pci"

# kernel VERSION NAME puts a kernel of Debian's where the firmware and the system look
# for the vendor's, with its initramfs: kernel8NAME.img and initramfs8NAME.
kernel() {
	local dir=$work/kernel$2 version=$1 package
	mkdir "$dir"
	for package in "$root"/packages/linux-*-"$version"_*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir" "${unused[@]/#/--exclude=*/kernel/}"
	done
	[ -n "$2" ] || cp -a "$dir"/usr/lib/linux-image-*/broadcom/*.dtb "$boot"
	mv "$dir"/boot/vmlinuz-* "$boot/kernel8$2.img" 2>/dev/null ||
		mv "$dir/usr/lib/modules/$version/vmlinuz" "$boot/kernel8$2.img" # from Linux 7 on
	[ -d "$dir/usr/lib/modules" ] || mv "$dir/lib/modules" "$dir/usr/lib/"
	mkdir -p "$root/usr/lib/modules"
	mv "$dir/usr/lib/modules/$version" "$root/usr/lib/modules/"
	depmod -b "$root" "$version"
	initramfs "$version" "$boot/initramfs8$2"
}

# kernels are the release's own, and its backports' where these have one.
kernels() {
	local name= version
	for version in $(cd "$root/packages" && printf '%s\n' linux-image-*.deb | sort -V); do
		version=${version#linux-image-}
		kernel "${version%%_*}" "$name"
		name=-backports
	done
}

# initramfs VERSION FILE makes a kernel's initramfs: busybox, init, modules, and the
# programs of the root that the vendor's has.
initramfs() {
	local dir=$work/initramfs-$1 module program
	mkdir -p "$dir"/{bin,dev,lib,modules,proc,root,sys}
	# Bookworm's is in /bin, Trixie's in /usr/bin.
	dpkg-deb --fsys-tarfile "$root"/packages/busybox-static_*.deb |
		tar -x -O --wildcards '*bin/busybox' >"$dir/bin/busybox"
	chmod 755 "$dir/bin/busybox"
	cp "$here/initramfs/init" "$dir/init"
	cp "$here/initramfs/$release" "$dir/vendor"
	for program in $programs; do
		cp "$root/usr/sbin/$program" "$dir/bin"
		libraries "$dir/lib" "$dir/bin/$program"
	done
	for module in $modules; do
		modprobe -d "$root" -S "$1" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
		case $module in
		*.xz) xz -dc "$module" >"$dir/modules/$(basename "$module" .xz)" ;;
		*) cp "$module" "$dir/modules/" ;;
		esac
		basename "$module" .xz >>"$dir/modules/order"
	done
	(cd "$dir" && find . | sort | cpio --quiet -o -H newc -R 0:0 | gzip -n) >"$2"
}

# libraries DIR PROGRAM... copies the libraries that programs are linked to, and those
# that these are linked to.
libraries() {
	local dir=$1 file name
	for file in "${@:2}"; do
		for name in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p') ld-linux-aarch64.so.1; do
			[ ! -e "$dir/$name" ] || continue
			cp -L "$(find "$root/usr/lib" -maxdepth 2 -name "$name" | head -n 1)" "$dir/$name"
			libraries "$dir" "$dir/$name"
		done
	done
}

# users makes the first user, without a password, as the vendor's images have it.
users() {
	local group
	for group in netdev gpio i2c spi; do
		groupadd --prefix "$root" -f -r $group
	done
	useradd --prefix "$root" -m -k "$root/etc/skel" -u 1000 -U -s /bin/bash \
		-G adm,dialout,sudo,audio,video,plugdev,netdev,gpio,i2c,spi pi
}

# enable UNIT starts a unit at boot.
enable() {
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -sf "/usr/lib/systemd/system/$1" "$root/etc/systemd/system/multi-user.target.wants/$1"
}

# files lays the vendor's files over Debian's.
files() {
	cp -r --no-preserve=ownership "$here/root/common/." "$here/root/$release/." "$root"
	cp -r "$here/boot/common/." "$here/boot/$release/." "$boot"
	cp "$root/etc/rpi-issue" "$boot/issue.txt"
	mkdir -p "$root/boot/firmware"
	ln -s firmware/issue.txt "$root/boot/issue.txt"
	ln -s firmware/overlays "$root/boot/overlays"
	sed -i "s/DISKID/$disk_id/" "$root/etc/fstab" "$boot/cmdline.txt"
	# This is how the vendor turns systematic names off. It turns off udev's
	# addresses of bridges, too.
	ln -s /dev/null "$root/etc/systemd/network/99-default.link"
	ln -s /dev/null "$root/etc/systemd/network/73-usb-net-by-mac.link"
	users
	# The work of update-ca-certificates, without which cloud-init does not start.
	[ "$release" != trixie ] || cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
	# sshswitch turns it on when the boot partition says so.
	rm -f "$root"/etc/systemd/system/{multi-user.target.wants/ssh,sshd}.service
	enable sshswitch.service
	enable regenerate_ssh_host_keys.service
	case $release in
	bookworm)
		enable userconfig.service
		# Where Raspberry Pi Imager has systemd look for its script.
		ln -s firmware/firstrun.sh "$root/boot/firstrun.sh"
		;;
	trixie)
		enable rpi-resize.service
		chmod 600 "$root/usr/lib/netplan/00-network-manager-all.yaml"
		sed -i 's/^cloud_config_modules:$/&\n - raspberry_pi/' "$root/etc/cloud/cloud.cfg"
		;;
	esac
}

# partition writes the disk label.
partition() {
	truncate -s $((size * sector)) "$image"
	sfdisk --quiet "$image" <<-END
		label: dos
		label-id: 0x$disk_id
		start=$boot_start, size=$boot_size, type=c
		start=$root_start, size=$((size - root_start)), type=83
	END
	# The vendor's label has parted's boot code. Where there is none, parted takes the
	# label for an empty one whenever it writes to it, and gives it another id.
	printf '\xfa' | dd of="$image" bs=1 conv=notrunc status=none
}

# boot_partition makes and fills bootfs.
boot_partition() {
	mkfs.fat --invariant -i "$disk_id" -n bootfs -F 32 -s $cluster --offset $boot_start \
		"$image" $((boot_size * sector / 1024)) >"$work/mkfs.log" 2>&1
	mcopy -s -i "$image@@$((boot_start * sector))" "$boot"/* ::
}

# root_partition makes and fills rootfs.
root_partition() {
	mke2fs -q -t ext4 -b 4096 -L rootfs -d "$root" \
		-O ^64bit,^huge_file,metadata_csum,^metadata_csum_seed,^orphan_file \
		-U "$disk_id-0002-4000-8000-000000000000" \
		-E "offset=$((root_start * sector)),hash_seed=$disk_id-0003-4000-8000-000000000000,lazy_itable_init=0" \
		"$image" $(((size - root_start) * sector / 1024))k
}

image=$work/image
# fakeroot loses the type of a file with a capability, so there ping goes without.
xattrs=(--xattrs --xattrs-include='*')
[ -z "${FAKEROOTKEY:-}" ] || xattrs=()
tar -x --numeric-owner "${xattrs[@]}" -p -f "$tarball" -C "$root" --exclude './dev/*'
kernels
rm -r "$root/packages"
files
partition
boot_partition
root_partition
mv "$image" "$out"
