package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// A bootSector is what all kinds of FAT have in the first sector.
type bootSector struct {
	Jump              [3]byte
	OEM               [8]byte
	SectorSize        uint16
	SectorsPerCluster uint8
	Reserved          uint16 // sectors before the first FAT
	FATs              uint8
	RootEntries       uint16 // 0 on FAT32
	Sectors16         uint16 // 0 if the number does not fit
	Media             uint8
	FATSectors16      uint16 // 0 on FAT32
	SectorsPerTrack   uint16
	Heads             uint16
	Hidden            uint32
	Sectors32         uint32
}

// A boot32 follows the bootSector on FAT32.
type boot32 struct {
	FATSectors   uint32
	Flags        uint16
	Version      uint16
	RootCluster  uint32
	InfoSector   uint16
	BackupSector uint16
	Unused       [12]byte
}

// A bootTail ends the fields of the boot sector on every kind.
type bootTail struct {
	Drive     uint8
	State     uint8 // Linux keeps the dirty flag here
	Signature uint8
	VolumeID  uint32
	Label     [11]byte
	Type      [8]byte
}

const (
	bootBytes  = 512 // of the first sector, whatever its size
	stateDirty = 1
	// tailSignature says that VolumeID, Label and Type are there.
	tailSignature = 0x29

	flagOneFAT    = 0x80 // on FAT32: only one of the FATs is in use
	flagFATNumber = 0x0f // which one

	minSector, maxSector = 512, 4096
	maxClusters12        = 4084
	maxClusters16        = 65524
	maxClusters32        = 0x0ffffff6
	// maxTable bounds the memory that a damaged boot sector can ask for. It is
	// enough for 512 GB in clusters of 32 KiB.
	maxTable = 64 << 20
)

// A geometry says where the parts of a file system are on the device. Offsets and sizes
// are bytes unless the name says otherwise.
type geometry struct {
	fat32       bool
	sectorSize  int
	clusterSize int
	clusters    uint32 // numbered from firstCluster
	fatStart    int64
	fatSize     int64
	fats        int
	rootStart   int64  // of FAT16's fixed root directory
	rootSize    int    // 0 on FAT32
	rootCluster uint32 // 0 on FAT16
	dataStart   int64  // of the first cluster
	infoStart   int64  // of FAT32's information sector, 0 if there is none
}

// clusterStart is where a cluster lies on the device.
func (g geometry) clusterStart(c uint32) int64 {
	return g.dataStart + int64(c-firstCluster)*int64(g.clusterSize)
}

// valid says whether c is the number of a cluster.
func (g geometry) valid(c uint32) bool {
	return c >= firstCluster && c-firstCluster < g.clusters
}

// A boot is a decoded boot sector.
type boot struct {
	bootSector
	boot32 // zero on FAT16
	bootTail
}

func (b boot) fat32() bool { return b.FATSectors16 == 0 }

// readBoot reads the boot sector of a device.
func readBoot(dev io.ReaderAt) (boot, error) {
	var raw [bootBytes]byte
	if n, err := dev.ReadAt(raw[:], 0); n < len(raw) {
		return boot{}, fmt.Errorf("boot sector: %w", err)
	}
	if raw[510] != 0x55 || raw[511] != 0xaa {
		return boot{}, fmt.Errorf("%w: no boot sector signature, want a FAT file system", ErrCorrupt)
	}
	var b boot
	rest := raw[:]
	fields := []any{&b.bootSector, &b.boot32, &b.bootTail}
	for _, f := range fields {
		if f == any(&b.boot32) && !b.fat32() {
			continue
		}
		n, err := binary.Decode(rest, binary.LittleEndian, f)
		if err != nil {
			return boot{}, fmt.Errorf("boot sector: %w", err)
		}
		rest = rest[n:]
	}
	return b, nil
}

// check refuses fields that later arithmetic cannot rely on.
func (b boot) check() error {
	ss, spc := b.SectorSize, b.SectorsPerCluster
	switch {
	case ss < minSector || ss > maxSector || bits.OnesCount16(ss) != 1:
		return fmt.Errorf("%w: sectors of %d bytes, want a FAT file system with 512 to 4096", ErrCorrupt, ss)
	case bits.OnesCount8(spc) != 1:
		return fmt.Errorf("%w: clusters of %d sectors, want a power of two", ErrCorrupt, spc)
	case b.Reserved == 0:
		return fmt.Errorf("%w: no reserved sectors, want at least the boot sector", ErrCorrupt)
	case b.FATs == 0:
		return fmt.Errorf("%w: no file allocation table", ErrCorrupt)
	case int(b.RootEntries)*direntSize%int(ss) != 0:
		return fmt.Errorf("%w: %d root entries, want whole sectors", ErrCorrupt, b.RootEntries)
	case b.fat32() && b.Version != 0:
		return fmt.Errorf("FAT32 version %#x, want 0: %w", b.Version, errors.ErrUnsupported)
	case b.activeFAT() > 0: // Linux reads the first, whatever the flags say
		return fmt.Errorf("FAT %d of %d alone is in use, want all or the first: %w", b.activeFAT()+1, b.FATs, errors.ErrUnsupported)
	}
	return nil
}

func (b boot) activeFAT() int {
	if b.Flags&flagOneFAT == 0 {
		return 0
	}
	return int(b.Flags & flagFATNumber)
}

func (b boot) fatSectors() int64 {
	if b.fat32() {
		return int64(b.FATSectors)
	}
	return int64(b.FATSectors16)
}

func (b boot) sectors() int64 {
	if b.Sectors16 != 0 {
		return int64(b.Sectors16)
	}
	return int64(b.Sectors32)
}

// geometry computes where things are, on a device of size bytes.
func (b boot) geometry(size int64) (geometry, error) {
	if err := b.check(); err != nil {
		return geometry{}, err
	}
	ss := int64(b.SectorSize)
	if total := b.sectors() * ss; total > size {
		return geometry{}, fmt.Errorf("%w: the file system is %d bytes long, its device %d", ErrCorrupt, total, size)
	}
	g := geometry{
		fat32:       b.fat32(),
		sectorSize:  int(ss),
		clusterSize: int(ss) * int(b.SectorsPerCluster),
		fatStart:    int64(b.Reserved) * ss,
		fatSize:     b.fatSectors() * ss,
		fats:        int(b.FATs),
		rootSize:    int(b.RootEntries) * direntSize,
		rootCluster: b.RootCluster,
	}
	g.rootStart = g.fatStart + int64(g.fats)*g.fatSize
	g.dataStart = g.rootStart + int64(g.rootSize)
	clusters := (b.sectors()*ss - g.dataStart) / int64(g.clusterSize)
	if clusters <= 0 {
		return geometry{}, fmt.Errorf("%w: no room for clusters in %d sectors", ErrCorrupt, b.sectors())
	}
	if b.fat32() && b.InfoSector != 0 && b.InfoSector < b.Reserved {
		g.infoStart = int64(b.InfoSector) * ss
	}
	g.clusters = uint32(min(clusters, maxClusters32+1))
	return g, g.checkClusters()
}

// checkClusters holds the number of clusters against the kind of FAT, which
// Linux knows by the field that holds the FAT's size.
func (g geometry) checkClusters() error {
	most := uint32(maxClusters16)
	if g.fat32 {
		most = maxClusters32
	}
	switch need := g.tableSize(); {
	case g.clusters > most:
		return fmt.Errorf("%w: %d clusters, want at most %d", ErrCorrupt, g.clusters, most)
	case !g.fat32 && g.clusters <= maxClusters12:
		return fmt.Errorf("FAT12 (%d clusters), want FAT16 or FAT32: %w", g.clusters, errors.ErrUnsupported)
	case need > g.fatSize:
		return fmt.Errorf("%w: a FAT of %d bytes for %d clusters, want %d", ErrCorrupt, g.fatSize, g.clusters, need)
	case need > maxTable:
		return fmt.Errorf("%d clusters, want at most %d: %w", g.clusters, maxTable/4, errors.ErrUnsupported)
	case !g.fat32 && g.rootSize == 0:
		return fmt.Errorf("%w: no room for a root directory", ErrCorrupt)
	case g.fat32 && !g.valid(g.rootCluster):
		return fmt.Errorf("%w: the root directory starts at cluster %d", ErrCorrupt, g.rootCluster)
	}
	return nil
}

// tableSize is the size of the part of a FAT that is in use, in whole sectors.
func (g geometry) tableSize() int64 {
	ss := int64(g.sectorSize)
	return ((int64(g.clusters)+firstCluster)*int64(g.width()) + ss - 1) / ss * ss
}

// width is the size of an entry of a FAT.
func (g geometry) width() int {
	if g.fat32 {
		return 4
	}
	return 2
}
