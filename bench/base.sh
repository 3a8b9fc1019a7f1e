#!/bin/bash
# base.sh OUT.img.xz makes the base image that is measured with: the tests'
# Bookworm, enlarged to 2.8 GB and filled to 1.8 GB with files of this machine,
# compressed in several blocks as published images are. It needs root, for a
# loop mount.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

size=2800000000 data=1800000000 # in bytes
root_start=$((1056768 * 512))   # as test/base/build.sh has it
out=$1
cd "$(dirname "$0")"

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
image=$work/image
mkdir "$work/root"

# sample prints names of files, in an order that is random and always the same,
# until they take so many bytes.
sample() {
	find /usr -xdev -type f -printf '%s %p\n' | sort -k 2 | shuf --random-source=<(yes) |
		awk -v left="$1" '{ left -= $1; sub(/^[0-9]+ /, "") }
			left >= 0
			END { if (left > 0) { print "too few files in /usr" >"/dev/stderr"; exit 1 } }'
}

cp --sparse=always "$(../test/base/cached.sh bookworm.img)" "$image"
truncate -s $((size / 512 * 512)) "$image"
echo ', +' | sfdisk --quiet -N 2 "$image"

device=$(losetup --find --show --offset "$root_start" "$image")
# Lazily, since what was interrupted may not have ended yet.
trap 'umount -q -l "$work/root" || true; losetup -d "$device" || true; rm -rf "$work"' EXIT
e2fsck -fp "$device"
resize2fs "$device"
mount "$device" "$work/root"
sample $((data - $(du -B 1 "$image" | cut -f 1))) | tar -c -P -T - | tar -x -C "$work/root/opt"
umount "$work/root"
losetup -d "$device"
trap 'rm -rf "$work"' EXIT

xz -T0 -6 --stdout "$image" >"$work/image.xz"
mv "$work/image.xz" "$out"
