package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// initramfsPrefix begins the names of the initramfs files of a tree. A node whose root is in
// NFS has no others. On a card or a disk, the vendor's are what the card starts from.
func initramfsPrefix(tree rootfs.Tree) (string, error) {
	text, err := rootfs.ReadText(tree, node.SettingsFile[1:])
	if errors.Is(err, fs.ErrNotExist) {
		return recipe.InitramfsPrefix, nil // it was never branded
	}
	if err != nil {
		return "", err
	}
	if kind, err := defaults.Text(text).Value("TYPE"); err != nil || kind != node.USBBootType {
		return recipe.InitramfsPrefix, err
	}
	return "", nil
}

// onCard reports whether a system starts from a card, by its settings and, if it is the
// running one, its kernel's command line. Only a copy of the card, given out as a disk, would
// start from our initramfs: without that, an upgrade of a card's kernel is complete.
func onCard(root, commandLine string) bool {
	settings, err := os.ReadFile(filepath.Join(root, node.SettingsFile))
	if err == nil {
		if kind, err := defaults.Text(settings).Value("TYPE"); err == nil && kind == node.USBBootType {
			return false
		}
	}
	words, err := os.ReadFile(commandLine)
	return root != "/" || err != nil || !slices.ContainsFunc(strings.Fields(string(words)), func(word string) bool {
		return strings.HasPrefix(word, node.DiskArg+"=")
	})
}

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
	prefix, err := initramfsPrefix(tree)
	if err != nil {
		return err
	}
	files, err := nfsroot.Initramfs(tree, bootDir, init, release)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := edit.WriteFile{Name: path.Join(bootDir, prefix+name), Data: string(files[name]), Perm: 0o755}
		if err := file.Apply(tree); err != nil {
			return err
		}
	}
	return nil
}
