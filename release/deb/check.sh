#!/bin/sh
# check.sh OLD.deb NEW.deb ... installs the packages of one version, then those of
# the next, in a Debian root made for that, and removes them again. The packages
# of other architectures are installed in turn: their scripts run on any.
set -eu

# inside ROOT is what mmdebstrap calls.
inside() {
	root=$1
	cp -r "$CLUSTERCTRL_DEBS" "$root/debs"
	for arch in amd64 arm64 armhf; do
		chroot "$root" dpkg --add-architecture "$arch"
		before=$(files)
		chroot "$root" sh -euxc '
			set -- /debs/*_1.0.0_$0.deb /debs/*_2.0.0_$0.deb
			dpkg -i "$1"
			systemctl is-enabled clusterctrl-init.service clusterctrl-composite.service \
				clusterctrl-rpiboot.service clusterctrl-hostkeys.service >/state || :
			test "$(sort -u /state)" = disabled && rm /state
			systemctl preset-all >/dev/null 2>&1
			test "$(systemctl is-enabled clusterctrl-init.service)" = disabled
			systemctl enable clusterctrl-init.service # as a role does
			echo TYPE=c >/etc/default/clusterctrl
			dpkg -i "$2"
			test "$(systemctl is-enabled clusterctrl-init.service)" = enabled
			test "$(dpkg-query -W -f "\${Version}" clusterctrl:$0)" = 2.0.0
			test "$(cat /etc/default/clusterctrl)" = TYPE=c
			[ $0 != "$(dpkg --print-architecture)" ] || clusterctrl --version
			dpkg -r clusterctrl:$0
			test -e /etc/default/clusterctrl
			dpkg -P clusterctrl:$0' "$arch"
		[ "$before" = "$(files)" ] || {
			echo "$arch: the package leaves something behind, or takes it" >&2
			files | (echo "$before" | diff /dev/fd/3 - 3<&0) >&2 || :
			exit 1
		}
		echo "ok $arch"
	done
	rm -r "$root/debs"
}

# files lists all files but for what dpkg, apt and presets write for themselves.
files() {
	(cd "$root" && find . -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o -path ./debs -prune -o \
		-path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -path ./etc/systemd/system -prune -o -print) | sort
	find "$root/etc/systemd/system" -name 'clusterctrl*'
}

if [ "${1:-}" = --inside ]; then
	inside "$2"
	exit
fi
CLUSTERCTRL_DEBS=$(mktemp -d)
export CLUSTERCTRL_DEBS
trap 'rm -rf "$CLUSTERCTRL_DEBS"' EXIT
cp "$@" "$CLUSTERCTRL_DEBS"
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
	'Origin: Debian' 'Label: Debian' 'Component: main' | sort -u | head -n 1)
[ -n "$uri" ] || { echo "apt has no source of Debian main, or wants apt-get update" >&2 && exit 1; }
mmdebstrap --quiet --variant=minbase --include=systemd \
	--customize-hook="'$(realpath "$0")' --inside \"\$1\"" bookworm /dev/null "deb $uri bookworm main"
