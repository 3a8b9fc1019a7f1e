#!/bin/bash
# dhcpcd.sh BOOKWORM.tar OUT.tar makes of the root that debian.sh made one whose
# addresses come from dhcpcd, as on Raspberry Pi OS up to Bullseye; dhclient is
# not on it. No program of the root has to run for that, so it takes seconds.
#
# Packages come from where the root's came. The foreign lists are kept apart, so
# that this machine's apt and dpkg never hear of them.
set -euo pipefail
export LC_ALL=C
umask 022

from=$(realpath "$1") out=$(realpath "$2")
packages=(dhcpcd-base:arm64 dhcpcd) # the program, and the unit that starts it

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root" "$work"/{state/lists,cache/archives}/partial
touch "$work/status"
tar -x -O -f "$from" ./etc/apt/sources.list >"$work/sources.list"
cat >"$work/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
END

cd "$work"
APT_CONFIG=$work/apt.conf apt-get -q update >&2
APT_CONFIG=$work/apt.conf apt-get -q download "${packages[@]}" >&2
for package in *.deb; do dpkg-deb -x "$package" "$root"; done
mv "$root/lib/systemd" "$root/usr/lib/" # /lib leads there
rm -r "$root/lib" "$root"/usr/share/{doc,man}

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
