#!/bin/sh
# After an installation or an upgrade. Nothing is enabled, since a role does that, and
# nothing is restarted: the root of a node may be mounted through its gadget.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
