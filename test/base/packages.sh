#!/bin/bash
# packages.sh ROOT.tar DIR PACKAGE... unpacks packages into a directory, as they are
# over a root that debian.sh made; no script of theirs runs. They come from where
# the root's packages came. The foreign lists are kept apart, so that this machine's
# apt and dpkg never hear of them.
set -euo pipefail
export LC_ALL=C
umask 022

from=$(realpath "$1") root=$(realpath "$2")
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{state/lists,cache/archives}/partial
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
APT_CONFIG=$work/apt.conf apt-get -q download "$@" >&2
for package in *.deb; do dpkg-deb -x "$package" "$root"; done
for dir in lib sbin; do # which lead to those of /usr
	[ ! -d "$root/$dir" ] || cp -a "$root/$dir" "$root/usr/"
	rm -rf "${root:?}/$dir"
done
rm -rf "$root"/usr/share/{doc,man,bug,lintian}
