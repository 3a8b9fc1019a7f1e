#!/bin/bash
# Makes sample.img.xz, the small base image that the program carries: partitions,
# file systems and files as on Raspberry Pi OS Lite (Bookworm, arm64), but only
# those files that a build looks at, so it cannot boot. root/ and boot/ hold the
# files with content; what a checkout cannot hold is written here.
# The same sources and the same versions of the tools give the same bytes.
#
# Needs e2fsprogs, dosfstools, mtools, fdisk, xz-utils; no privileges.
set -euo pipefail
cd "$(dirname "$0")"
umask 022
export LC_ALL=C TZ=UTC
export SOURCE_DATE_EPOCH=1747094400 # 2025-05-13, as the name says
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
export MTOOLS_SKIP_CHECK=1
export PATH=$PATH:/usr/sbin:/sbin

mib=$((1 << 20))
disk_id=5a3d1c0e
boot_start=$((4 * mib)) boot_size=$((40 * mib)) # the least for FAT32 is 33 MiB
root_start=$((44 * mib)) root_size=$((84 * mib))

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
image=$work/sample.img

# partition writes the disk label.
partition() {
	truncate -s $((root_start + root_size)) "$image"
	sfdisk --quiet "$image" <<-END
		label: dos
		label-id: 0x$disk_id
		start=$((boot_start / 512)), size=$((boot_size / 512)), type=c
		start=$((root_start / 512)), size=$((root_size / 512)), type=83
	END
}

# boot_partition makes and fills bootfs.
boot_partition() {
	local tree=$work/boot
	cp -r boot "$tree"
	cp root/etc/rpi-issue "$tree/issue.txt"
	for name in bootcode.bin start.elf fixup.dat kernel8.img bcm2710-rpi-zero-2-w.dtb; do
		echo "stand-in for $name" >"$tree/$name"
	done
	mkfs.fat --invariant -i 5a3db007 -n bootfs -F 32 -s 1 --offset $((boot_start / 512)) \
		"$image" $((boot_size / 1024)) >"$work/mkfs.log" 2>&1
	mcopy -s -i "$image@@$boot_start" "$tree"/* ::
}

# program writes an arm64 executable that does nothing, successfully.
program() {
	{
		printf '\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\xb7\0\1\0\0\0' # executable, AArch64
		printf '\x78\0\x40\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\x38\0\1\0\0\0\0\0\0\0'
		printf '\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\x40\0\0\0\0\0' # load it all
		printf '\x84\0\0\0\0\0\0\0\x84\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0'
		printf '\0\0\x80\xd2\xa8\x0b\x80\xd2\1\0\0\xd4' # exit(0)
	} >"$1"
	chmod +x "$1"
}

# root_tree completes the files of root/.
root_tree() {
	local tree=$1 dir
	cp -r root "$tree"
	while read -r dir; do mkdir -p "$tree/$dir"; done <<-END
		boot/firmware
		dev
		etc/NetworkManager/conf.d
		etc/NetworkManager/system-connections
		etc/default
		etc/modprobe.d
		etc/ssh/sshd_config.d
		etc/systemd/system/getty.target.wants
		etc/systemd/system/multi-user.target.wants
		etc/udev/rules.d
		media
		mnt
		opt
		proc
		root
		run
		srv
		sys
		tmp
		usr/bin
		usr/lib/aarch64-linux-gnu
		usr/lib/modules
		usr/share
		var/lib/systemd
		var/log
		var/tmp
	END
	program "$tree/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
	program "$tree/usr/lib/systemd/systemd"
	program "$tree/usr/bin/dash"
	program "$tree/usr/sbin/sshd"
}

links="bin usr/bin
lib usr/lib
sbin usr/sbin
boot/issue.txt firmware/issue.txt
boot/overlays firmware/overlays
etc/os-release ../usr/lib/os-release
etc/localtime /usr/share/zoneinfo/Europe/London
etc/resolv.conf ../run/NetworkManager/resolv.conf
usr/bin/sh dash
usr/lib/ld-linux-aarch64.so.1 aarch64-linux-gnu/ld-linux-aarch64.so.1
usr/lib/systemd/system/default.target multi-user.target
usr/sbin/init ../lib/systemd/systemd
var/lock /run/lock
var/run /run
etc/systemd/system/dbus-org.freedesktop.nm-dispatcher.service /lib/systemd/system/NetworkManager-dispatcher.service
etc/systemd/system/getty.target.wants/getty@tty1.service /lib/systemd/system/getty@.service
etc/systemd/system/multi-user.target.wants/NetworkManager.service /lib/systemd/system/NetworkManager.service
etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service /lib/systemd/system/regenerate_ssh_host_keys.service
etc/systemd/system/multi-user.target.wants/sshswitch.service /lib/systemd/system/sshswitch.service
etc/systemd/system/multi-user.target.wants/userconfig.service /lib/systemd/system/userconfig.service"

# Modes and owners other than 0755 and 0644, root:root: mode, uid, gid, name.
modes="040700 0 0 etc/NetworkManager/system-connections
0100640 0 42 etc/shadow
0100600 0 0 etc/ssh/ssh_host_ecdsa_key
0100600 0 0 etc/ssh/ssh_host_ed25519_key
0100600 0 0 etc/ssh/ssh_host_rsa_key
040700 0 0 root
041777 0 0 tmp
041777 0 0 var/tmp
040700 1000 1000 home/pi
0100644 1000 1000 home/pi/.profile"

# debugfs_commands prints what fills the file system with the tree: debugfs,
# and not mke2fs -d, since that takes ctime and the order of names from the host.
debugfs_commands() {
	local tree=$1 mode uid gid name target
	(cd "$tree" && find . -mindepth 1 -type d -printf 'mkdir %P\n' | sort)
	while read -r name; do
		printf 'cd /%s\nwrite %s %s\n' "$(dirname "$name")" "$tree/$name" "$(basename "$name")"
		mode=0100644
		[ ! -x "$tree/$name" ] || mode=0100755
		printf 'sif /%s mode %s\n' "$name" $mode
	done < <(cd "$tree" && find . -type f -printf '%P\n' | sort)
	echo 'cd /'
	while read -r name target; do
		echo "symlink $name $target"
	done <<<"$links"
	while read -r mode uid gid name; do
		printf "sif $name %s\n" "mode $mode" "uid $uid" "gid $gid"
	done <<<"$modes"
}

# root_partition makes and fills rootfs. The features are named one by one where
# the defaults of mke2fs have changed over time.
root_partition() {
	root_tree "$work/root"
	mke2fs -q -t ext4 -b 4096 -I 256 -N 8192 -J size=4 -L rootfs \
		-O ^64bit,^huge_file,^orphan_file,^metadata_csum_seed,metadata_csum \
		-U 5a3d0002-0000-4000-8000-000000000000 \
		-E "offset=$root_start,hash_seed=5a3d0003-0000-4000-8000-000000000000,lazy_itable_init=0" \
		"$image" $((root_size / 1024))k
	debugfs_commands "$work/root" >"$work/commands"
	debugfs -w -f "$work/commands" "$image?offset=$root_start" >"$work/debugfs.log" 2>&1
	# debugfs carries on after an error, and its status does not tell.
	if grep -v -e '^debugfs' -e '^Allocated inode' "$work/debugfs.log"; then exit 1; fi
}

partition
boot_partition
root_partition
# Several blocks, as published images have.
xz -9 --threads=1 --block-size=$((32 * mib)) --stdout "$image" >sample.img.xz.part
mv sample.img.xz.part sample.img.xz
