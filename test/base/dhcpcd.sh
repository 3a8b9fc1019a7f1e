#!/bin/bash
# dhcpcd.sh BOOKWORM.tar OUT.tar makes of the root that debian.sh made one whose
# addresses come from dhcpcd, as on Raspberry Pi OS up to Bullseye; dhclient is
# not on it. No program of the root has to run for that, so it takes seconds.
set -euo pipefail
export LC_ALL=C
umask 022

from=$(realpath "$1") out=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
# The program, and the unit that starts it.
"$(dirname "$0")/packages.sh" "$from" "$root" dhcpcd-base:arm64 dhcpcd

# What installing it does: the user as which it runs, and the start at boot.
mkdir -p "$root"/etc/systemd/system/multi-user.target.wants "$root/var/lib/dhcpcd"
tar -x -O -f "$from" ./etc/passwd >"$root/etc/passwd"
echo "dhcpcd:x:110:65534:DHCP Client Daemon:/usr/lib/dhcpcd:/bin/false" >>"$root/etc/passwd"
ln -s /lib/systemd/system/dhcpcd.service "$root/etc/systemd/system/multi-user.target.wants/"
# What the vendor's images have besides, without which the unit does not start.
mkdir -p "$root/etc/wpa_supplicant"
touch "$root/etc/resolv.conf"
# What an owner may have added. It is for that interface alone, as are the lines behind
# it.
printf '\ninterface wlan0\nstatic ip_address=192.168.1.9/24\n' >>"$root/etc/dhcpcd.conf"

cp "$from" "$out"
tar --delete -f "$out" ./usr/sbin/dhclient{,-script} ./etc/dhcp
tar -r -f "$out" --owner=0 --group=0 --numeric-owner --sort=name -C "$root" .
