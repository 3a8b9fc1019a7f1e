#!/bin/bash
# cached.sh NAME prints the path of a base image: bookworm.img, dhcpcd.img and nfs.img
# (which are Bookworm, with another network program and with an NFS server),
# trixie.img, or one of them with .xz behind. What is not there yet is made first,
# which takes a minute for the Debian root of a release and seconds for the rest, and
# is kept in the project's cache/ (or $CLUSTERCTRL_CACHE) under a name that changes
# with the scripts. What was interrupted is made anew; of two that want the same, one
# waits.
set -euo pipefail
export LC_ALL=C

cd "$(dirname "$0")"
cache=${CLUSTERCTRL_CACHE:-$PWD/../../cache}/base
case $1 in
bookworm.img | bookworm.img.xz | trixie.img | trixie.img.xz) name=${1%%.*} release=$name ;;
dhcpcd.img | dhcpcd.img.xz | nfs.img | nfs.img.xz) name=${1%%.*} release=bookworm ;;
*) echo "base image $1: want bookworm.img, dhcpcd.img, nfs.img or trixie.img, or .xz of it" >&2 && exit 1 ;;
esac

# key FILE... prints what tells one content of the files from another.
key() { cat "$@" | sha256sum | cut -c 1-12; }

mapfile -t sources < <(find build.sh debian.sh arm64.sh initramfs root boot -type f | sort)
debian=$cache/$release-$(key debian.sh arm64.sh).tar
tarball=$debian
if [ "$name" != "$release" ]; then
	tarball=$cache/$name-$(key debian.sh arm64.sh packages.sh "$name.sh").tar
	sources+=(packages.sh "$name.sh")
fi
image=$cache/$name-$(key "${sources[@]}").img

# once FILE COMMAND... runs a command that makes the file that is its last
# argument, unless that is there already. It appears complete or not at all.
once() {
	local file=$1
	shift
	[ ! -e "$file" ] || return 0
	echo "making $file" >&2
	"$@" "$file.part" >&2
	mv "$file.part" "$file"
}

# compress IMAGE FILE compresses in several blocks, as published images are.
compress() { xz -T0 -1 --block-size=16MiB --stdout "$1" >"$2"; }

mkdir -p "$cache"
exec 9>"$cache/$release.lock"
flock 9
rm -rf "$cache/$release"-*.part* "$cache/$name"-*.part*
[ -e "$image" ] || once "$debian" ./debian.sh "$release"
[ -e "$image" ] || once "$tarball" "./$name.sh" "$debian"
once "$image" ./build.sh "$release" "$tarball"
case $1 in
*.xz) once "$image.xz" compress "$image" && image=$image.xz ;;
esac
realpath "$image"
