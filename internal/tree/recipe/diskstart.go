package recipe

import (
	"io/fs"
	"maps"
	"path"
	"slices"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
)

// DiskStart returns the edits that let a node start from an image without a card, where
// the controller gives the image out as the node's disk. initramfs are the
// [Kernel.Initramfs] files of its kernels: they lie beside the vendor's, from which
// a card starts. program is what makes them anew when a kernel is installed.
func DiskStart(s System, initramfs map[string][]byte, program []byte) []edit.Edit {
	edits := []edit.Edit{edit.WriteFile{Name: inTree(node.USBRootPath), Data: string(program), Perm: 0o755}}
	for _, name := range slices.Sorted(maps.Keys(initramfs)) {
		edits = append(edits, edit.WriteFile{Name: path.Join(s.BootDir, InitramfsPrefix+name), Data: string(initramfs[name]), Perm: 0o755})
	}
	return append(edits, kernelHooks()...)
}

// HasDiskStart reports whether a tree has an initramfs that [DiskStart] writes.
func HasDiskStart(tree fs.FS, bootDir string) bool {
	found, err := fs.Glob(tree, path.Join(bootDir, InitramfsPrefix+"initramfs*"))
	return err == nil && len(found) > 0
}

// kernelHooks have our initramfs made anew when a kernel came or went.
func kernelHooks() []edit.Edit {
	var edits []edit.Edit
	for _, dir := range node.KernelHookDirs {
		edits = append(edits, edit.Symlink{Target: node.Program, Name: inTree(path.Join(dir, node.KernelHook))})
	}
	return edits
}
