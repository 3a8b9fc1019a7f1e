package fat

import (
	"encoding/binary"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

// direntSize is the size of a slot of a directory. A file takes one, behind
// those of its long name.
const direntSize = 32

// A dirent is the slot that describes a file.
type dirent struct {
	Name        [11]byte // 8.3, padded with blanks
	Attr        uint8
	Case        uint8 // Windows NT's: which part of Name is shown in lower case
	CreateTenth uint8 // in 10 ms, to 1.99 s
	CreateTime  uint16
	CreateDate  uint16
	AccessDate  uint16
	ClusterHigh uint16 // FAT32 only
	WriteTime   uint16
	WriteDate   uint16
	ClusterLow  uint16
	Size        uint32 // 0 for a directory
}

// A longSlot holds 13 UTF-16 units of a long name.
type longSlot struct {
	Order    uint8 // counts down to 1, which stands before the dirent
	First    [5]uint16
	Attr     uint8
	Kind     uint8
	Checksum uint8 // of the dirent's name
	Second   [6]uint16
	Cluster  uint16
	Third    [2]uint16
}

const (
	attrReadOnly  = 0x01
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLong      = 0x0f // all of the lower four: a slot of a long name
	attrMask      = 0x3f

	caseLowerStem      = 0x08
	caseLowerExtension = 0x10

	slotEnd     = 0x00 // first byte of the slot behind the last used one
	slotDeleted = 0xe5
	slotE5      = 0x05 // stands for a name that starts with 0xe5

	longFirst    = 0x40 // bit of Order in the first slot of a long name
	longUnits    = 13   // per slot
	maxNameUnits = 255
	maxLongSlots = 20
)

var dotName, dotDotName = shortBytes(".", ""), shortBytes("..", "")

func (d dirent) isDir() bool { return d.Attr&attrDirectory != 0 }

func (d dirent) mode() fs.FileMode {
	switch {
	case d.isDir():
		return fs.ModeDir | 0o755
	case d.Attr&attrReadOnly != 0:
		return 0o555
	}
	return 0o755
}

func (d dirent) cluster(g geometry) uint32 {
	if g.fat32 {
		return uint32(d.ClusterHigh)<<16 | uint32(d.ClusterLow)
	}
	return uint32(d.ClusterLow)
}

// start makes the dirent lead to the first cluster of chain.
func (d *dirent) start(g geometry, chain []uint32) {
	var first uint32
	if len(chain) > 0 {
		first = chain[0]
	}
	d.ClusterLow = uint16(first)
	if g.fat32 {
		d.ClusterHigh = uint16(first >> 16)
	}
}

// A stamp is a time as FAT keeps it, the time zone being UTC.
type stamp struct {
	date, time uint16
	tenth      uint8
}

var firstDay, lastDay = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC)

func newStamp(t time.Time) stamp {
	t = t.UTC()
	if t.Before(firstDay) {
		t = firstDay
	}
	if t.After(lastDay) {
		t = lastDay
	}
	return stamp{
		date:  uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		time:  uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2),
		tenth: uint8(t.Second()%2*100 + t.Nanosecond()/1e7),
	}
}

func (d *dirent) created(s stamp) {
	d.CreateDate, d.CreateTime, d.CreateTenth = s.date, s.time, s.tenth
	d.AccessDate = s.date
	d.written(s)
}

func (d *dirent) written(s stamp) { d.WriteDate, d.WriteTime = s.date, s.time }

func (d dirent) modTime() time.Time {
	date, clock := int(d.WriteDate), int(d.WriteTime)
	return time.Date(1980+date>>9, time.Month(max(date>>5&15, 1)), max(date&31, 1),
		clock>>11, clock>>5&63, clock&31*2, 0, time.UTC)
}

// encode writes the dirent into its slot.
func (d dirent) encode(slot []byte) {
	if _, err := binary.Encode(slot, binary.LittleEndian, d); err != nil {
		panic(err) // slot is no slot
	}
}

func decodeDirent(slot []byte) (d dirent) {
	if _, err := binary.Decode(slot, binary.LittleEndian, &d); err != nil {
		panic(err) // slot is no slot
	}
	return d
}

func checksum(name [11]byte) (sum uint8) {
	for _, b := range name {
		sum = sum>>1 | sum<<7 + b
	}
	return sum
}

// A longName gathers the slots of a long name.
type longName struct {
	units [maxLongSlots * longUnits]uint16
	order int // of the slot seen last; 0 if there was none
	slots int
	sum   uint8
}

func (l *longName) add(slot []byte) {
	var s longSlot
	if _, err := binary.Decode(slot, binary.LittleEndian, &s); err != nil {
		panic(err) // slot is no slot
	}
	order := int(s.Order &^ longFirst)
	switch {
	case order < 1 || order > maxLongSlots:
		l.order = 0
		return
	case s.Order&longFirst != 0:
		*l = longName{slots: order, sum: s.Checksum}
	case order != l.order-1 || s.Checksum != l.sum:
		l.order = 0
		return
	}
	l.order = order
	units := l.units[(order-1)*longUnits:]
	copy(units, s.First[:])
	copy(units[5:], s.Second[:])
	copy(units[11:], s.Third[:])
}

// of returns the long name that belongs to the dirent called short, and the
// number of its slots. There is none if a slot was missing.
func (l *longName) of(short [11]byte) (name string, slots int) {
	if l.order != 1 || l.sum != checksum(short) {
		return "", 0
	}
	units := l.units[:l.slots*longUnits]
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units)), l.slots
}

// encodeLong returns the slots of a long name.
func encodeLong(name string, short [11]byte) []byte {
	units := utf16.Encode([]rune(name))
	count := longSlots(name)
	if len(units) < count*longUnits {
		units = append(units, 0)
	}
	for len(units) < count*longUnits {
		units = append(units, 0xffff)
	}
	var slots []byte
	for order := count; order > 0; order-- {
		s := longSlot{Order: uint8(order), Attr: attrLong, Checksum: checksum(short)}
		if order == count {
			s.Order |= longFirst
		}
		part := units[(order-1)*longUnits:]
		copy(s.First[:], part)
		copy(s.Second[:], part[5:])
		copy(s.Third[:], part[11:])
		slots, _ = binary.Append(slots, binary.LittleEndian, s)
	}
	return slots
}

// longSlots is the number of slots that a long name takes.
func longSlots(name string) int {
	return (len(utf16.Encode([]rune(name))) + longUnits - 1) / longUnits
}

// codePage437 are the characters from 0x80 on, as Linux takes them by default.
const codePage437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
	"└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"

// shortString is the readable form of an 8.3 name.
func shortString(name [11]byte, cases uint8) string {
	if name[0] == slotE5 {
		name[0] = 0xe5
	}
	stem, extension := fromCodePage(name[:8]), fromCodePage(name[8:])
	if cases&caseLowerStem != 0 {
		stem = strings.ToLower(stem)
	}
	if cases&caseLowerExtension != 0 {
		extension = strings.ToLower(extension)
	}
	if extension == "" {
		return stem
	}
	return stem + "." + extension
}

func fromCodePage(raw []byte) string {
	upper := []rune(codePage437)
	var s strings.Builder
	for _, b := range raw {
		if b < 0x80 {
			s.WriteByte(b)
		} else {
			s.WriteRune(upper[b-0x80])
		}
	}
	return strings.TrimRight(s.String(), " ")
}

// shortBytes is the form of an 8.3 name on disk.
func shortBytes(stem, extension string) (name [11]byte) {
	copy(name[:], "           ")
	copy(name[:8], stem)
	copy(name[8:], extension)
	return name
}
