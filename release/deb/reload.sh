#!/bin/sh
# After an installation or an upgrade. Nothing is enabled, which a role does, and
# nothing restarted: a node may have its root behind its gadget.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
