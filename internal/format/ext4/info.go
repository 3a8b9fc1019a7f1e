package ext4

import "fmt"

// Info describes a file system.
type Info struct {
	Label          string   `json:"label"`
	UUID           string   `json:"uuid"`
	BlockSize      int      `json:"block_size"` // in bytes
	Blocks         int64    `json:"blocks"`
	FreeBlocks     int64    `json:"free_blocks"`
	ReservedBlocks int64    `json:"reserved_blocks"` // among the free ones: only root can have them
	Inodes         int64    `json:"inodes"`
	FreeInodes     int64    `json:"free_inodes"`
	Features       []string `json:"features"` // named as dumpe2fs does
}

// Info describes the file system, with all changes so far.
func (f *FS) Info() Info {
	s, free := &f.super, f.free()
	u := s.UUID
	info := Info{
		Label:          s.label(),
		UUID:           fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
		BlockSize:      f.blockSize,
		Blocks:         int64(s.blocks()),
		FreeBlocks:     int64(free.blocks),
		ReservedBlocks: int64(s.wide(s.ReservedBlocksLow, s.ReservedBlocksHigh)),
		Inodes:         int64(s.Inodes),
		FreeInodes:     int64(free.inodes),
	}
	for _, x := range s.features() {
		info.Features = append(info.Features, x.String())
	}
	return info
}
