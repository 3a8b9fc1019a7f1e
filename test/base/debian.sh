#!/bin/bash
# debian.sh RELEASE OUT.tar makes the root that an image is made from: Debian
# for arm64 with the packages that Raspberry Pi OS has and our work touches. The
# kernel and a static busybox are in it as packages, under /packages, since
# installing a kernel would run mkinitramfs, which takes ten minutes under qemu.
#
# The maintainer scripts run under qemu-user, so this takes minutes; what is made
# of the root, in build.sh, takes seconds and runs here. Packages come from where
# this machine's apt gets its own.
set -euo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Keys that are there are not made; these are removed in the end.
no_keys='mkdir -p "$1/etc/ssh"
	touch "$1/etc/ssh/ssh_host_rsa_key" "$1/etc/ssh/ssh_host_ecdsa_key" "$1/etc/ssh/ssh_host_ed25519_key"'

# Under qemu these take longer than all the rest: compiling Python's modules (it
# does so itself as modules are first used), hashing certificates, and looking
# for each of 500 locales in a list.
slow=(/usr/bin/py3compile /usr/lib/python3.13/py_compile.py /usr/sbin/update-ca-certificates /usr/share/i18n/'*')
replace_slow='mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib/python3.13" "$1/usr/share/i18n"
	ln -s true "$1/usr/bin/py3compile"
	ln -s ../bin/true "$1/usr/sbin/update-ca-certificates"
	touch "$1/usr/lib/python3.13/py_compile.py" "$1/usr/share/i18n/SUPPORTED"'

release=$1 out=$2 options=()
packages=systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,procps,sudo
packages+=,iproute2,iputils-ping,netbase,nftables,iptables,bridge-utils,nfs-common,openssh-server
packages+=,fdisk,dosfstools
case $release in
bookworm) packages+=,ifupdown,isc-dhcp-client ;;
trixie)
	packages+=,network-manager,netplan.io,cloud-init
	options+=("${slow[@]/#/--dpkgopt=path-exclude=}" --setup-hook="$replace_slow")
	;;
*) echo "release $release: want bookworm or trixie" >&2 && exit 1 ;;
esac

# mirror prints where apt gets Debian itself from, which it knows after an update.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
		'Origin: Debian' 'Label: Debian' 'Component: main' | sort -u | head -n 1
}

# foreign_programs lets this machine run arm64 programs.
foreign_programs() {
	! arch-test arm64 >/dev/null 2>&1 || return 0
	[ "$(id -u)" -eq 0 ] || { echo "cannot run arm64 programs; as root: update-binfmts --enable qemu-aarch64" >&2 && exit 1; }
	mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	update-binfmts --enable qemu-aarch64
	arch-test arm64 >/dev/null
}

# The name of the kernel's package changes with each update.
fetch_kernel='cd "$1/packages"
	kernel=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends linux-image-arm64 | sed -n "s/^ *Depends: //p")
	APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q download "$kernel:arm64" busybox-static:arm64'

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
apt-config dump Acquire | grep -iE '::(proxy|check-date|check-valid-until)' >"$settings" || :

uri=$(mirror)
[ -n "$uri" ] || { apt-get -q update >&2 && uri=$(mirror); }
[ -n "$uri" ] || { echo "apt has no source of Debian, section main" >&2 && exit 1; }
foreign_programs
mmdebstrap --quiet --arch=arm64 --variant=minbase --include="$packages" --aptopt="$settings" \
	--dpkgopt=path-exclude=/usr/share/{man,doc,info,locale,lintian}/'*' \
	--setup-hook="$no_keys" "${options[@]}" \
	--setup-hook='for file in /etc/apt/auth.conf*; do [ ! -e "$file" ] || cp -a "$file" "$1/etc/apt/"; done' \
	--customize-hook='mkdir "$1/packages"' \
	--customize-hook="$fetch_kernel" \
	--customize-hook='rm -rf "$1"/etc/apt/auth.conf* "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
	--customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" "$1/etc/resolv.conf"' \
	--format=tar "$release" "$out" "deb $uri $release main"
