package fat

import (
	"errors"
	"io"
)

// An Info describes a file system.
type Info struct {
	Type         string `json:"type"`  // "FAT16" or "FAT32"
	Label        string `json:"label"` // empty if there is none
	VolumeID     uint32 `json:"volume_id"`
	SectorSize   int    `json:"sector_size"`  // in bytes
	ClusterSize  int    `json:"cluster_size"` // in bytes
	Clusters     int    `json:"clusters"`
	FreeClusters int    `json:"free_clusters"`
	Dirty        bool   `json:"dirty"` // was not unmounted, or has I/O errors
}

// noName is what mkfs writes into the boot sector if there is no label.
const noName = "NO NAME"

// Info describes the file system as it is now.
func (fsys *FS) Info() (Info, error) {
	t := fsys.table
	free, err := t.countFree()
	if err != nil {
		return Info{}, err
	}
	i := Info{
		Type:         "FAT16",
		Label:        fsys.root.label,
		SectorSize:   t.sectorSize,
		ClusterSize:  t.clusterSize,
		Clusters:     int(t.clusters),
		FreeClusters: free,
		Dirty:        fsys.boot.State&stateDirty != 0 || !t.clean(),
	}
	if t.fat32 {
		i.Type = "FAT32"
	}
	if fsys.boot.Signature == tailSignature {
		i.VolumeID = fsys.boot.VolumeID
		if label := shortLabel(fsys.boot.Label); i.Label == "" && label != noName {
			i.Label = label
		}
	}
	return i, nil
}

// ReadName reads a file system's names from its boot sector alone: the number that
// blkid(8) writes as UUID, and the label, empty if there is none.
func ReadName(dev io.ReaderAt) (id uint32, label string, err error) {
	b, err := readBoot(dev)
	if err != nil {
		return 0, "", err
	}
	if b.Signature != tailSignature {
		return 0, "", errors.New("the FAT file system has no name")
	}
	if label = shortLabel(b.Label); label == noName {
		label = ""
	}
	return b.VolumeID, label, nil
}
