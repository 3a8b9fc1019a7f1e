#!/bin/bash
# arm64.sh ROOT replaces the programs and libraries of a Debian root by those that
# the same packages have for arm64, and lays the kernel and a static busybox down
# as packages, under /packages: installing a kernel would run mkinitramfs, which
# no image here needs. debian.sh has mmdebstrap call it, with an apt that fetches
# for ROOT.
set -euo pipefail
root=$1 native=$(dpkg --print-architecture)
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG

# query asks the root's dpkg.
query() { dpkg-query --admindir="$root/var/lib/dpkg" "$@"; }

# special prints the owners and modes that the packages' scripts have set.
special() {
	local file
	dpkg-statoverride --admindir="$root/var/lib/dpkg" --list | while read -r _ _ _ file; do
		(cd "$root" && stat -c '%u:%g %a %n' ".$file")
	done
}

# programs are the files of packages, but for the links at the top, such as /lib.
programs() {
	local file
	query -L "${packages[@]/%/:$native}" | grep '^/[^/]*/.' | while read -r file; do
		[ -d "$root$file" ] || echo "$root$file"
	done
}

replace() {
	local overrides capabilities package file value mode
	mapfile -t packages < <(query -W -f '${Architecture} ${Package}\n' | sed -n "s/^$native //p")
	apt-get -qq download "${packages[@]/%/:arm64}"
	overrides=$(special)
	capabilities=$(getcap -r "$root")
	programs | xargs -d '\n' rm -f
	rm -rf "$root"/usr/lib/*-linux-gnu*/ "$root"/{etc/ld.so.cache,var/cache/ldconfig}
	for package in *.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -p -C "$root" --keep-directory-symlink \
			--exclude=./{proc,sys,dev} --exclude='./usr/share/'{man,doc,info,locale,lintian}'/*'
		rm "$package"
	done
	while read -r value mode file; do
		[ -z "$file" ] || { chown "$value" "$root/$file" && chmod "$mode" "$root/$file"; }
	done <<<"$overrides"
	while read -r file value; do
		[ -z "$file" ] || setcap "$value" "$file"
	done <<<"$capabilities"
	sed -i "s/^Architecture: $native$/Architecture: arm64/" "$root/var/lib/dpkg/status"
	echo arm64 >"$root/var/lib/dpkg/arch"
	for file in "$root"/var/lib/dpkg/info/*":$native".*; do
		mv "$file" "${file/:$native./:arm64.}"
	done
}

mkdir "$root/packages"
cd "$root/packages"
[ "$native" = arm64 ] || replace
# kernels prints the packages of each kernel that the sources have, the release's and
# that of its backports. Their names change with each update, and from Linux 7 on a
# kernel is several packages.
kernels() {
	local image
	apt-cache show linux-image-arm64:arm64 | grep -o 'linux-image-[0-9][^ ]*-arm64' | sort -u | while read -r image; do
		echo "$image:arm64"
		apt-cache depends "$image:arm64" | sed -nE 's/^ *Depends: (linux-(base|binary|modules)-[^:]*).*/\1:arm64/p'
	done
}

mapfile -t kernels < <(kernels)
apt-get -qq download busybox-static:arm64 "${kernels[@]}"
