#!/bin/bash
# debian.sh RELEASE OUT.tar makes the root that an image is made from: Debian
# for arm64 with the packages that Raspberry Pi OS has and our work touches.
#
# The packages are installed for this machine's own architecture, and what is
# arm64's in them comes in their place afterwards: see arm64.sh. What the packages'
# scripts make (users, links, enabled units) is the same on both, and to emulate
# those scripts takes ten times as long as all the rest. Two releases have no file
# in common that was worth sharing. What is made of the root, in build.sh, takes
# seconds. Packages come from where this machine's apt gets its own.
set -euo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Keys are not made where there are some; these are removed in the end.
no_keys='mkdir -p "$1/etc/ssh"
	touch "$1/etc/ssh/ssh_host_rsa_key" "$1/etc/ssh/ssh_host_ecdsa_key" "$1/etc/ssh/ssh_host_ed25519_key"'

release=$1 out=$2 suites=("$1")
packages=systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,procps,sudo
packages+=,iproute2,iputils-ping,netbase,nftables,iptables,bridge-utils,nfs-common,openssh-server
packages+=,fdisk,dosfstools,parted
case $release in
bookworm) packages+=,ifupdown,isc-dhcp-client ;;
trixie) packages+=,network-manager,netplan.io,cloud-init,e2fsprogs suites+=(trixie-backports) ;; # for its kernel alone
*) echo "release $release: want bookworm or trixie" >&2 && exit 1 ;;
esac

# mirror prints where apt gets Debian itself from, which it knows after an update.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
		'Origin: Debian' 'Label: Debian' 'Component: main' | sort -u | head -n 1
}

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
apt-config dump Acquire | grep -iE '::(proxy|check-date|check-valid-until)' >"$settings" || :

uri=$(mirror)
[ -n "$uri" ] || { apt-get -q update >&2 && uri=$(mirror); }
[ -n "$uri" ] || { echo "apt has no source of Debian, section main" >&2 && exit 1; }
sources=("${suites[@]/#/deb $uri }")
native=$(dpkg --print-architecture)
architectures=$native
[ "$native" = arm64 ] || architectures+=,arm64
mmdebstrap --quiet --architectures="$architectures" --variant=minbase --include="$packages" --aptopt="$settings" \
	--dpkgopt=path-exclude=/usr/share/{man,doc,info,locale,lintian}/'*' \
	--setup-hook="$no_keys" \
	--setup-hook='for file in /etc/apt/auth.conf*; do [ ! -e "$file" ] || cp -a "$file" "$1/etc/apt/"; done' \
	--customize-hook="$(dirname "$0")/arm64.sh" \
	--customize-hook='rm -rf "$1"/etc/apt/auth.conf* "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
	--customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" "$1/etc/resolv.conf"' \
	--format=tar "$release" "$out" "${sources[@]/%/ main}"
