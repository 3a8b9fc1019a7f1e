// Package hostname gives a node the name of its number back. Raspberry Pi Imager adds a
// script, or the vendor's custom.toml, to an image. Both take effect after the branding,
// and give all cards that Imager wrote the same name.
package hostname

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Restore gives a node's root the node's name, in /etc/hostname and /etc/hosts. It
// returns another name that it replaced, empty if there was none.
func Restore(tree rootfs.Tree, id node.ID) (other string, err error) {
	text, err := rootfs.ReadText(tree, "etc/hostname")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := id.String()
	old := strings.TrimSpace(string(text))
	if leads, err := leadsHome(tree, name); err != nil || leads && old == name {
		return "", err
	}
	if err := edit.Apply(tree, recipe.Name(id.Role())); err != nil || old == name {
		return "", err
	}
	return old, nil
}

// leadsHome says whether a line of hosts(5) leads from a name to the machine itself.
// Other names in that line are the user's.
func leadsHome(tree rootfs.Tree, name string) (bool, error) {
	text, err := rootfs.ReadText(tree, "etc/hosts")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "127.0.1.1" && slices.Contains(fields[1:], name) {
			return true, err
		}
	}
	return false, err
}
