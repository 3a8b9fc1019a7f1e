package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"clusterctrl/internal/format/ext4"
	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A Report says what an image is.
type Report struct {
	File       string      `json:"file"`
	Size       int64       `json:"size"` // in bytes
	DiskID     string      `json:"disk_id"`
	Partitions []Partition `json:"partitions"`
	OS         rootfs.OS   `json:"os"`
	Boot       fat.Info    `json:"boot_partition"`
	Root       ext4.Info   `json:"root_partition"`

	// CurrentRole is what the image is already, empty if it was not branded.
	CurrentRole string `json:"current_role"`
	// Version is that of the program which built the image, empty if the image does not say.
	Version string `json:"version"`
	// Gadget is what a node shows on USB, empty if this program made no image of it.
	Gadget string        `json:"gadget"`
	Access recipe.Access `json:"access"`
	// Role is what the next boot makes of the image, empty if nothing.
	Role string `json:"role"`
	// VendorFirstBoot reports whether the vendor's first boot is still to come: after
	// the branding, where there is a role.
	VendorFirstBoot bool `json:"vendor_first_boot"`
	// Host is the host name in the image.
	Host        string `json:"host"`
	CommandLine string `json:"command_line"`
}

// A Partition is one of the disk's, with the name that Linux finds it by.
type Partition struct {
	Number   int    `json:"number"`
	Type     uint8  `json:"type"`
	Start    int64  `json:"start"` // in bytes
	Size     int64  `json:"size"`
	PARTUUID string `json:"partuuid"`
}

// Inspect looks into an image, compressed or not.
func Inspect(ctx context.Context, file string, stdin io.Reader, progress Progress) (r Report, err error) {
	in, err := diskimage.Open(file, stdin)
	if err != nil {
		return Report{}, err
	}
	defer in.Close()
	err = withDisk(ctx, in, progress, func(disk *os.File, size int64) error {
		r, err = report(disk, size)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	})
	r.File = file
	return r, err
}

func report(disk *os.File, size int64) (Report, error) {
	image, err := rootfs.OpenImage(disk, size)
	if err != nil {
		return Report{}, err
	}
	boot, err := image.Boot.Info()
	if err != nil {
		return Report{}, fmt.Errorf("boot partition: %w", err)
	}
	r := Report{Size: size, DiskID: fmt.Sprintf("%08x", image.Table.ID), Boot: boot, Root: image.Root.Info()}
	for i, p := range image.Table.Partitions {
		if p.Size > 0 {
			r.Partitions = append(r.Partitions, Partition{i + 1, p.Type, p.Start, p.Size, image.Table.PARTUUID(i + 1)})
		}
	}
	if r.OS, err = rootfs.Identify(image); err != nil {
		return Report{}, err
	}
	words, err := commandLineWords(image)
	if err != nil {
		return Report{}, err
	}
	r.CommandLine = words.String()
	r.VendorFirstBoot = recipe.PendingVendor(words)
	if role, pending := recipe.PendingRole(words); pending {
		r.Role = role.String()
	}
	if r.Version, err = line(image.Root, node.VersionFile); err != nil {
		return Report{}, err
	}
	r.CurrentRole, r.Gadget = currentRole(image)
	r.Access = recipe.AccessOf(image, r.OS)
	r.Host, err = line(image.Root, "/etc/hostname")
	return r, err
}

// line returns the text of a file of one line, empty if there is no such file.
func line(tree fs.FS, file string) (string, error) {
	text, err := rootfs.ReadText(tree, file[1:])
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// currentRole reads the settings that a branding leaves, and the gadget; the template has
// the gadget of an image that was not branded yet.
func currentRole(tree rootfs.Tree) (role, gadget string) {
	for _, name := range []string{node.ShareDir[1:] + "/default-clusterctrl", node.SettingsFile[1:]} {
		text, err := rootfs.ReadText(tree, name)
		if err != nil {
			continue
		}
		settings := defaults.Text(text)
		if g, err := settings.Value("GADGET"); err == nil && g != "" {
			gadget = g
		}
		kind, _ := settings.Value("TYPE") // what cannot be read is no role
		id, _ := settings.Value("ID")
		for _, r := range []node.Role{node.CBridge, node.CNAT} {
			if kind == r.Type() {
				role = r.String()
			}
		}
		if n, err := node.ParseID("p" + id); err == nil && kind == n.Role().Type() {
			role = n.String()
		}
	}
	return role, gadget
}
