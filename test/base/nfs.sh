#!/bin/bash
# nfs.sh BOOKWORM.tar OUT.tar makes of the root that debian.sh made one with Debian's
# NFS server, which a controller of nodes without cards has. All that the server
# needs is there already. No program of the root has to run for that, so it takes
# seconds.
set -euo pipefail
export LC_ALL=C
umask 022

from=$(realpath "$1") out=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
"$(dirname "$0")/packages.sh" "$from" "$root" nfs-kernel-server:arm64

# What installing does.
mkdir -p "$root"/etc/{default,systemd/system/multi-user.target.wants}
cp "$root/usr/share/nfs-kernel-server/conffiles/etc.exports" "$root/etc/exports"
cp "$root/usr/share/nfs-kernel-server/conffiles/nfs-kernel-server.default" "$root/etc/default/nfs-kernel-server"
ln -s /lib/systemd/system/nfs-server.service "$root/etc/systemd/system/multi-user.target.wants/"

cp "$from" "$out"
tar -r -f "$out" --owner=0 --group=0 --numeric-owner --sort=name -C "$root" .
