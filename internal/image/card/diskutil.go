package card

import (
	"bytes"
	"fmt"
	"strings"
)

// diskutilInfo reads what "diskutil info -plist" says of a whole disk, and "diskutil
// list -plist" of what is on it.
func diskutilInfo(info, list []byte) (Disk, error) {
	value, err := readPlist(bytes.NewReader(info))
	if err != nil {
		return Disk{}, fmt.Errorf("diskutil info: %w", err)
	}
	v, _ := value.(map[string]any)
	id, _ := v["DeviceIdentifier"].(string)
	if id == "" {
		return Disk{}, fmt.Errorf("diskutil info: no DeviceIdentifier")
	}
	if whole, _ := v["WholeDisk"].(bool); !whole {
		parent, _ := v["ParentWholeDisk"].(string)
		return Disk{}, fmt.Errorf("/dev/%s: is a partition: want the whole card, /dev/%s", id, parent)
	}
	d := Disk{Path: "/dev/" + id}
	d.Model, _ = v["MediaName"].(string)
	d.Size, _ = v["TotalSize"].(int64)
	if d.Size == 0 {
		d.Size, _ = v["Size"].(int64)
	}
	sector, _ := v["DeviceBlockSize"].(int64)
	d.SectorSize = int(sector)
	for _, key := range []string{"RemovableMediaOrExternalDevice", "RemovableMedia", "Ejectable"} {
		if removable, _ := v[key].(bool); removable {
			d.Removable = true
		}
	}
	if writable, known := v["WritableMedia"].(bool); known {
		d.ReadOnly = !writable
	}
	switch protocol, _ := v["BusProtocol"].(string); {
	case protocol == "USB":
		d.Bus = "usb"
	case strings.HasPrefix(protocol, "Secure Digital"):
		d.Bus = "mmc"
	default:
		d.Bus = strings.ToLower(protocol)
	}
	if virtual, _ := v["VirtualOrPhysical"].(string); virtual == "Virtual" {
		d.InUse = "is a part of another disk"
	}
	return d, diskutilParts(&d, list)
}

// diskutilParts says what is on a disk. MacOS mounts the partitions of a card as soon
// as it is put in; such a mount may be ended. A mount of the running system may not.
func diskutilParts(d *Disk, list []byte) error {
	value, err := readPlist(bytes.NewReader(list))
	if err != nil {
		return fmt.Errorf("diskutil list: %w", err)
	}
	v, _ := value.(map[string]any)
	disks, _ := v["AllDisksAndPartitions"].([]any)
	var texts []string
	for _, disk := range disks {
		disk, _ := disk.(map[string]any)
		for _, list := range []string{"Partitions", "APFSVolumes"} {
			parts, _ := disk[list].([]any)
			for _, p := range parts {
				p, _ := p.(map[string]any)
				kind, _ := p["Content"].(string)
				name, _ := p["VolumeName"].(string)
				texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %q", kind, name)))
				point, _ := p["MountPoint"].(string)
				if d.InUse == "" {
					d.InUse = systemMount(kind, point)
				}
			}
		}
	}
	if len(texts) > 0 {
		d.Content = fmt.Sprintf("%d partitions: %s", len(texts), strings.Join(texts, ", "))
	}
	return nil
}

// systemMount says why a disk is left alone that has a partition of a kind, mounted
// at a point.
func systemMount(kind, point string) string {
	switch {
	case point == "/" || strings.HasPrefix(point, "/System/") || strings.HasPrefix(point, "/private/"):
		return "holds the running system"
	case kind == "Apple_APFS" || kind == "Apple_CoreStorage" || kind == "Apple_RAID":
		return "is a part of " + strings.TrimPrefix(kind, "Apple_")
	}
	return ""
}
