# Read by login shells.
[ -z "$BASH" ] || . "$HOME/.bashrc"
