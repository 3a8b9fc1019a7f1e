package packed

import (
	"encoding/binary"
	"runtime"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// A zstdPacker makes frames (RFC 8878).
type zstdPacker struct {
	independent
	encoder *zstd.Encoder
}

func newZstdPacker() zstdPacker { return zstdPackerOf(zstd.SpeedBetterCompression) }

// newFastZstdPacker packs as fast as zstd(1) does where nobody asks for more, into files
// that are a few per cent larger.
func newFastZstdPacker() zstdPacker { return zstdPackerOf(zstd.SpeedFastest) }

func zstdPackerOf(level zstd.EncoderLevel) zstdPacker {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithEncoderLevel(level))
	if err != nil {
		panic(err) // an option is wrong
	}
	return zstdPacker{encoder: e}
}

func (p zstdPacker) pack(contents []byte) ([]byte, error) {
	// Room for all but what is random: the encoder copies what it has whenever it needs more.
	return p.encoder.EncodeAll(contents, make([]byte, 0, len(contents)/2)), nil
}

// store returns a frame with its size and checksum and one block, the last, which
// is not compressed.
func (zstdPacker) store(contents []byte) []byte {
	const (
		magic       = 0xfd2fb528
		description = 0x64 // a size in two bytes, less 256; that is the window too; a checksum
		last        = 1
	)
	frame := binary.LittleEndian.AppendUint32(nil, magic)
	frame = append(frame, description)
	frame = binary.LittleEndian.AppendUint16(frame, uint16(len(contents)-256))
	header := binary.LittleEndian.AppendUint32(nil, uint32(len(contents))<<3|last)
	frame = append(append(frame, header[:3]...), contents...)
	return binary.LittleEndian.AppendUint32(frame, uint32(xxhash.Sum64(contents)))
}
