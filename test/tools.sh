#!/bin/sh
# Installs the Debian packages whose programs the tests run: as oracles beside
# our own code, to make the base images, and to boot what was built from them.
# Without root it says what to install, and fails.
set -eu

# The judges of file systems, disk labels and compressed images.
packages="e2fsprogs dosfstools mtools fdisk attr acl libcap2-bin xfsprogs btrfs-progs systemd openssl
	xz-utils gzip zstd zip pixz p7zip-full libarchive-tools python3"
# Clients of the server of images, and what checks what it tells Imager.
packages="$packages curl wget wrk bmap-tools python3-jsonschema"
# What test/base needs to make a Debian root.
packages="$packages mmdebstrap debian-archive-keyring kmod cpio fakeroot binutils"
# What a controller runs: udev's rules and the kernel's packet filter.
packages="$packages udev libc-bin nftables iptables iproute2 openssh-client wpasupplicant"
# What reaches many nodes from one place.
packages="$packages ansible-core pdsh"
# Clients of the server of disks, and servers that the benchmark does beside.
packages="$packages qemu-utils libnbd-bin nbd-client nbdkit"
# What the benchmark does beside: the same by Python, the memory of it, and an initramfs.
packages="$packages python3-smbus time initramfs-tools-core"
# Manual pages.
packages="$packages groff"
# Whole machines.
packages="$packages qemu-system-arm qemu-system-x86"

missing=
for package in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "the tests need programs that are not installed; as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC2086 # a list of names
apt-get -q install -y --no-install-recommends $missing
