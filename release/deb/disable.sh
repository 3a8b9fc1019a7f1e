#!/bin/sh
# Before removal, while the units are there: no link to them is left behind.
set -e
[ "$1" = remove ] && command -v systemctl >/dev/null || exit 0
for unit in composite hostkeys init rpiboot; do
	systemctl --quiet --no-reload disable "clusterctrl-$unit.service"
done
