package usbroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
	"golang.org/x/sys/unix"
)

// diskIndex is the number of the node's disk among the kernel's network block devices.
const diskIndex = 0

var diskDevice = fmt.Sprintf("/dev/nbd%d", diskIndex)

// mountDisk connects the node's disk, and mounts its root as the kernel would that of a
// card. Room behind the root becomes the root's: see [extend].
func mountDisk(p Plan) error {
	if err := startKeeper(); err != nil {
		return err
	}
	number, err := preparePartition(p)
	if err != nil {
		return err
	}
	partition := fmt.Sprintf("%sp%d", diskDevice, number)
	if err := await(partition); err != nil {
		return err
	}
	if err := unix.Mount(partition, newRoot, p.Type, unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount %s, %s: %w", partition, p.Type, err)
	}
	if p.Type == defaultType {
		if err := growFileSystem(partition); err != nil {
			say("%s does not grow: %v", partition, err)
		}
	}
	if p.Writable {
		if err := remount(0); err != nil {
			return err
		}
	}
	say("mounted %s, which is on %v", partition, p.Server)
	return keepNetwork()
}

// preparePartition returns the number of the root's partition, which it extends where there
// is room.
func preparePartition(p Plan) (int, error) {
	disk, err := os.OpenFile(diskDevice, os.O_RDWR, 0) // the kernel now looks for partitions
	if err != nil {
		return 0, err
	}
	defer disk.Close() // what was written is synced
	number, err := findPartition(disk, p.PARTUUID)
	if err != nil {
		return 0, err
	}
	if err := extend(disk, number); err != nil {
		say("partition %d does not grow: %v", number, err)
	}
	return number, nil
}

// remount changes the flags of the mounted root.
func remount(flags uintptr) error {
	if err := unix.Mount("", newRoot, "", unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("remount the root: %w", err)
	}
	return nil
}

// findPartition returns the number of the partition with a PARTUUID.
func findPartition(disk *os.File, uuid string) (int, error) {
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	table, err := mbr.Read(disk, size)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", diskDevice, err)
	}
	for i, p := range table.Partitions {
		if p.Size > 0 && strings.EqualFold(table.PARTUUID(i+1), uuid) {
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("root=PARTUUID=%s: the disk has the id %08x", uuid, table.ID)
}

// await returns once the kernel has made a device's file.
func await(device string) error {
	return uevent.Wait(context.Background(), func() (bool, error) {
		_, err := os.Stat(device)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	}, "block")
}

// keepNetwork tells the system, which is that of a node with a card as far as it knows,
// to leave alone what its root needs: the gadget that is there already, its network card
// when ifupdown stops, and the VLAN. What it is told is in memory: it is about this start.
func keepNetwork() error {
	run := filepath.Join(newRoot, "run")
	if err := unix.Mount("tmpfs", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	for name, text := range map[string]string{
		"systemd/system/clusterctrl-composite.service.d/disk.conf": "[Unit]\nConditionKernelCommandLine=!" + node.DiskArg + "\n",
		"systemd/system/networking.service.d/clusterctrl.conf":     "[Service]\nExecStop=\n",
		"NetworkManager/conf.d/90-clusterctrl.conf":                "[keyfile]\nunmanaged-devices=interface-name:" + node.NFSLink + "\n",
	} {
		name = filepath.Join(run, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
