#!/bin/bash
# kernel.sh ARCH prints the directory of Debian's kernel for amd64, arm64 or
# armel (the ARMv6 one of the Pi Zero): vmlinuz, dtb/ and lib/modules/RELEASE
# with its modules.dep. What is not there yet is fetched and kept in the project's
# cache/ (or $CLUSTERCTRL_CACHE); of two that want the same, one waits.
#
# Packages come from where this machine's apt gets its own. The foreign lists are
# kept apart, so that this machine's apt and dpkg never hear of them.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

release=bookworm arch=$1
case $arch in
amd64 | arm64) package=linux-image-$arch ;;
armel) package=linux-image-rpi ;;
*) echo "kernel for $arch: want amd64, arm64 or armel" >&2 && exit 1 ;;
esac
cache=${CLUSTERCTRL_CACHE:-$(cd "$(dirname "$0")" && pwd)/../../../cache}/kernel
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
dir=$cache/$release-$arch

exec 9>"$dir.lock"
flock 9
[ ! -e "$dir" ] || { echo "$dir" && exit; }
echo "fetching Debian's kernel for $arch" >&2

# mirror prints where apt gets Debian itself from.
mirror() {
	local uri
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
		'Origin: Debian' 'Label: Debian' 'Component: main' | sort -u | head -n 1)
	[ -n "$uri" ] || { echo "apt has no source of Debian main, or wants apt-get update" >&2 && exit 1; }
	echo "$uri"
}

work=$(mktemp -d)
trap 'rm -rf "$work" "$dir.part"' EXIT
chmod 755 "$work" # apt drops root for downloads
mkdir -p "$work"/{state/lists,cache/archives}/partial
touch "$work/status"
echo "deb $(mirror) $release main" >"$work/sources.list"
cat >"$work/apt.conf" <<END
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
END
export APT_CONFIG=$work/apt.conf

cd "$work"
apt-get -q update >&2
# The name of the kernel's package changes with each update.
kernel=$(apt-cache depends "$package" | sed -n '0,/^ *Depends: /s/^ *Depends: //p')
apt-get -q download "$kernel" >&2
dpkg-deb -x "$kernel"_*.deb root

rm -rf "$dir.part"
mkdir -p "$dir.part/dtb" "$dir.part/lib"
cp root/boot/vmlinuz-* "$dir.part/vmlinuz"
find root/usr/lib/linux-image-* -name 'bcm2[78]*.dtb' -exec cp {} "$dir.part/dtb/" \; 2>/dev/null || [ "$arch" = amd64 ]
mv root/lib/modules "$dir.part/lib/"
depmod -b "$dir.part" "$(ls "$dir.part/lib/modules")"
mv "$dir.part" "$dir"
echo "$dir"
