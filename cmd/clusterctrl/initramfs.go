package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// makeInitramfs makes the initramfs of the kernels in a node's tree, of one flavour if
// release names it.
func makeInitramfs(root, release string) (err error) {
	tree, err := rootfs.OpenDir(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	init, err := rootfs.ReadText(tree, node.USBRootPath[1:])
	if err != nil {
		return fmt.Errorf("%s: this is no node without a card: %w", root, err)
	}
	bootDir, err := rootfs.BootDir(tree)
	if err != nil {
		return err
	}
	files, err := nfsroot.Initramfs(tree, bootDir, init, release)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := edit.WriteFile{Name: path.Join(bootDir, name), Data: string(files[name]), Perm: 0o755}
		if err := file.Apply(tree); err != nil {
			return err
		}
	}
	return nil
}
