#!/bin/sh
# After removal. The settings, which the first role made, go with a purge.
set -e
[ "$1" != purge ] || rm -f /etc/default/clusterctrl
[ ! -d /run/systemd/system ] || systemctl daemon-reload
