package card

import (
	"errors"
	"strings"
	"testing"
)

// plistOf is a property list as diskutil writes it.
func plistOf(body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">` + body + "</plist>\n")
}

const usbCard = `<dict>
	<key>BusProtocol</key><string>USB</string>
	<key>DeviceBlockSize</key><integer>512</integer>
	<key>DeviceIdentifier</key><string>disk4</string>
	<key>MediaName</key><string>STORAGE DEVICE</string>
	<key>RemovableMediaOrExternalDevice</key><true/>
	<key>TotalSize</key><integer>31914983424</integer>
	<key>VirtualOrPhysical</key><string>Physical</string>
	<key>WholeDisk</key><true/>
	<key>WritableMedia</key><true/>
</dict>`

const partsOfCard = `<dict><key>AllDisksAndPartitions</key><array><dict>
	<key>DeviceIdentifier</key><string>disk4</string>
	<key>Partitions</key><array>
		<dict><key>Content</key><string>Windows_FAT_32</string><key>VolumeName</key><string>bootfs</string><key>MountPoint</key><string>/Volumes/bootfs</string></dict>
		<dict><key>Content</key><string>Linux</string></dict>
	</array>
</dict></array></dict>`

func TestDiskutil(t *testing.T) {
	d, err := diskutilInfo(plistOf(usbCard), plistOf(partsOfCard))
	want := Disk{Path: "/dev/disk4", Model: "STORAGE DEVICE", Bus: "usb", Size: 31914983424, SectorSize: 512, Removable: true,
		Content: `2 partitions: Windows_FAT_32 "bootfs", Linux ""`}
	if err != nil || d != want {
		t.Errorf("%+v, %v; want %+v", d, err, want)
	}
	if err := (Policy{MaxSize: 1e12}).Check(d, 1e9); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"the running system": {"/Volumes/bootfs", "/", "/dev/disk4: holds the running system: want a card that is not in use"},
		"another system":     {"Windows_FAT_32", "Apple_APFS", "/dev/disk4: is a part of APFS: want a card that is not in use"},
		"an image of a disk": {">Physical<", ">Virtual<", "/dev/disk4: is a part of another disk: want a card that is not in use"},
		"an internal disk":   {"<string>USB</string>", "<string>PCI-Express</string>", ""},
		"fixed":              {"<key>RemovableMediaOrExternalDevice</key><true/>", "<key>BusProtocol</key><string>SATA</string>", "/dev/disk4: neither removable nor on USB nor an SD card: want a card, or --any-disk"},
		"locked":             {"<key>WritableMedia</key><true/>", "<key>WritableMedia</key><false/>", "/dev/disk4: read-only: move the switch at the card's edge, or take another reader"},
	} {
		d, err := diskutilInfo(plistOf(strings.Replace(usbCard, tt.old, tt.new, 1)), plistOf(strings.Replace(partsOfCard, tt.old, tt.new, 1)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := (Policy{MaxSize: 1e12}).Check(d, 0); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
	part := strings.Replace(usbCard, "<key>WholeDisk</key><true/>", "<key>ParentWholeDisk</key><string>disk4</string><key>WholeDisk</key><false/>", 1)
	if _, err := diskutilInfo(plistOf(part), plistOf(partsOfCard)); err == nil || !strings.Contains(err.Error(), "is a partition: want the whole card, /dev/disk4") {
		t.Errorf("a partition: %v", err)
	}
}

// badPlists are texts that are no property lists, each for a reason of its own.
var badPlists = map[string]string{
	"empty":            "",
	"text":             "disk4",
	"cut off":          `<plist version="1.0"><dict><key>a</key>`,
	"value for a key":  `<plist version="1.0"><dict><string>a</string><string>b</string></dict></plist>`,
	"key without one":  `<plist version="1.0"><dict><key>a</key></dict></plist>`,
	"no number":        `<plist version="1.0"><integer>seven</integer></plist>`,
	"too deep":         `<plist version="1.0">` + strings.Repeat("<array>", 100),
	"other than it is": `<plist version="1.0"><dict></array></plist>`,
}

func FuzzPlist(f *testing.F) {
	for _, text := range badPlists {
		f.Add(text)
	}
	f.Add(string(plistOf(usbCard)))
	f.Add(string(plistOf(partsOfCard)))
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := readPlist(strings.NewReader(text)); err != nil && !errors.Is(err, errPlist) {
			t.Errorf("%v is no errPlist", err)
		}
		diskutilInfo([]byte(text), []byte(text))
		diskutilInfo(plistOf(usbCard), []byte(text))
	})
}

func TestBadPlists(t *testing.T) {
	for name, text := range badPlists {
		if v, err := readPlist(strings.NewReader(text)); !errors.Is(err, errPlist) {
			t.Errorf("%s: %v, %v; want an error", name, v, err)
		}
	}
}
