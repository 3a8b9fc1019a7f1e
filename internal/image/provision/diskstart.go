package provision

import (
	"errors"
	"fmt"

	"clusterctrl/internal/image/nfsroot"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// leastFree is what the boot partition keeps free, in bytes, for the vendor's updates of
// its files: a kernel is unpacked beside the old one.
const leastFree = 16 << 20

// diskStart returns the edits that let nodes start from the image without a card. The
// error says why they cannot.
func (o Options) diskStart(image *rootfs.Image, system recipe.System) ([]edit.Edit, error) {
	if o.USBRoot == nil {
		return nil, errors.New("this program has no first program for them")
	}
	program, err := o.USBRoot(system.Arch)
	if err != nil {
		return nil, err
	}
	files, err := nfsroot.Initramfs(image, system.BootDir, program, "")
	if err != nil {
		return nil, err
	}
	info, err := image.Boot.Info()
	if err != nil {
		return nil, err
	}
	size := int64(0)
	for _, f := range files {
		size += int64(len(f)) + int64(info.ClusterSize)
	}
	if free := int64(info.FreeClusters) * int64(info.ClusterSize); free-size < leastFree {
		return nil, fmt.Errorf("the boot partition has %d MB free, and their initramfs take %d", free/1e6, size/1e6)
	}
	return recipe.DiskStart(system, files, program), nil
}
