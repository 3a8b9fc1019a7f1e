package xz

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

// parts are what a file of one block is assembled from, with the right CRCs.
type parts struct {
	flags   string // of the stream
	header  string // of the block, from its flags to its padding
	payload string
	padding string
	check   string
	index   string // from its number of records to its padding
	gap     string // nothing may be here
	footer  string // backward size and flags
}

// plain is a whole file that holds "abc" in one uncompressed chunk.
func plain() *parts {
	return &parts{
		flags:   "\x00\x00",
		header:  "\x00\x21\x01\x00\x00\x00\x00",
		payload: "\x01\x00\x02abc\x00",
		padding: "\x00",
		index:   "\x01\x13\x03",
		footer:  "\x01\x00\x00\x00\x00\x00",
	}
}

// lzma is a whole file that holds 33 bytes of text in one chunk of LZMA.
func lzma() *parts {
	p := plain()
	p.payload = "\xe0\x00\x20\x00\x16\x5d" + etaoin + "\x00"
	p.padding = "\x00\x00"
	p.index = "\x01\x2a\x21"
	return p
}

const etaoin = "\x00\x32\x9d\x08F\xa8B\xb3S\x9aSGh`\xcc=pr\xf7C\xa8\x98\x00"

// chunks replaces the payload, and makes the index agree with it.
func (p *parts) chunks(size int, payload string) {
	p.payload = payload
	p.padding = strings.Repeat("\x00", -len(payload)&3)
	p.index = string([]byte{1, byte(12 + len(payload)), byte(size)})
}

func (p *parts) file() []byte {
	sum := func(s string) string {
		return string(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(s))))
	}
	header := string([]byte{byte(len(p.header)+5)/4 - 1}) + p.header
	index := "\x00" + p.index
	return []byte(headerMagic + p.flags + sum(p.flags) + header + sum(header) + p.payload + p.padding + p.check +
		index + sum(index) + p.gap + sum(p.footer) + p.footer + footerMagic)
}

const (
	abc = "\x01\x00\x02abc"
	end = "\x00"
)

func TestWhole(t *testing.T) {
	const text = "etaoin shrdlu etaoin etaoin shrdl"
	for _, tt := range []struct {
		name  string
		file  *parts
		alter func(p *parts)
		want  string
	}{
		{"plain", plain(), func(p *parts) {}, "abc"},
		{"LZMA", lzma(), func(p *parts) {}, text},
		{"no contents", plain(), func(p *parts) { p.chunks(0, end) }, ""},
		{"sizes in header", plain(), func(p *parts) { p.header = "\xc0\x07\x03\x21\x01\x00\x00" }, "abc"},
		{"largest dictionary", plain(), func(p *parts) { p.header = "\x80\x03\x21\x01\x28\x00\x00" }, "abc"},
		{"two chunks", plain(), func(p *parts) { p.chunks(4, abc+"\x02\x00\x00d"+end) }, "abcd"},
		{"two dictionaries", plain(), func(p *parts) { p.chunks(4, abc+"\x01\x00\x00d"+end) }, "abcd"},
		{"plain after LZMA", lzma(), func(p *parts) { p.chunks(36, p.payload[:29]+"\x02\x00\x02abc"+end) }, text + "abc"},
		{"new dictionary for LZMA", lzma(), func(p *parts) { p.chunks(36, abc+p.payload) }, "abc" + text},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.alter(tt.file)
			for way, unpack := range ways {
				if got, err := unpack(tt.file.file()); string(got) != tt.want || err != nil {
					t.Errorf("%s: %q, %v; want %q", way, got, err, tt.want)
				}
			}
		})
	}
}

func TestCorrupt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		file   *parts
		damage func(p *parts)
		stream string // part of the error that the stream gives
		index  string // the same of the index, if it is another; - if the file is whole
	}{
		{"reserved stream flag", plain(), func(p *parts) { p.flags = "\x01\x00" }, "stream flags", ""},
		{"reserved check bits", plain(), func(p *parts) { p.flags, p.footer = "\x00\x10", "\x01\x00\x00\x00\x00\x10" }, "stream flags", ""},
		{"unknown check", plain(), func(p *parts) { p.flags, p.footer = "\x00\x02", "\x01\x00\x00\x00\x00\x02" }, "check of kind 2", ""},
		{"check differs", plain(), func(p *parts) { p.footer = "\x01\x00\x00\x00\x00\x01" }, "footer tells of check 1", "check is 0 in header, 1 in footer"},
		{"backward size too small", plain(), func(p *parts) { p.footer = "\x00\x00\x00\x00\x00\x00" }, "4 bytes of index", "starts with"},
		{"backward size too large", plain(), func(p *parts) { p.footer = "\xff\xff\xff\xff\x00\x00" }, "17179869184 bytes of index", "index of 17179869184 bytes"},

		{"gap after index", plain(), func(p *parts) { p.gap, p.footer = "\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00" }, "stream ends with", "8 bytes long, want 12"},

		{"reserved block flag", plain(), func(p *parts) { p.header = "\x04\x21\x01\x00\x00\x00\x00" }, "block flags 0x04", ""},
		{"two filters", plain(), func(p *parts) { p.header = "\x01\x21\x01\x00\x21\x01\x00" }, "2 filters", ""},
		{"delta filter", plain(), func(p *parts) { p.header = "\x01\x03\x01\x00\x21\x01\x00" }, "delta: unsupported", ""},
		{"ARM64 filter", plain(), func(p *parts) { p.header = "\x01\x0a\x00\x21\x01\x00\x00" }, "ARM64: unsupported", ""},
		{"unknown filter", plain(), func(p *parts) { p.header = "\x00\x22\x01\x00\x00\x00\x00" }, "filter 0x22 : unsupported", ""},
		{"dictionary of unknown size", plain(), func(p *parts) { p.header = "\x00\x21\x01\x29\x00\x00\x00" }, "properties 29", ""},
		{"dictionary too large", plain(), func(p *parts) { p.header = "\x00\x21\x01\x28\x00\x00\x00" }, "dictionary of 4294967295 bytes", "-"},
		{"properties too long", plain(), func(p *parts) { p.header = "\x00\x21\x02\x00\x00\x00\x00" }, "properties 00 00", ""},
		{"properties over the end", plain(), func(p *parts) { p.header = "\x00\x21\x7f\x00\x00\x00\x00" }, "ends within a field", ""},
		{"number over the end", plain(), func(p *parts) { p.header = "\x40\xff\xff\xff\xff\xff\xff" }, "ends within a field", ""},
		{"number too long", plain(), func(p *parts) { p.header, p.index = "\x40"+strings.Repeat("\xff", 14), "\x01\x1b\x03" }, "more than 63 bits", ""},
		{"number of 64 bits", plain(), func(p *parts) {
			p.header, p.index = "\x40"+strings.Repeat("\xff", 9)+"\x01\x21\x01\x00\x00", "\x01\x1b\x03"
		}, "more than 63 bits", ""},
		{"number with needless zero", plain(), func(p *parts) { p.header = "\x40\x87\x00\x21\x01\x00\x00" }, "needless zero", ""},
		{"data in header padding", plain(), func(p *parts) { p.header = "\x00\x21\x01\x00\x00\x00\x01" }, "data in its padding", ""},
		{"payload of no bytes", plain(), func(p *parts) { p.header = "\x40\x00\x21\x01\x00\x00\x00" }, "block of no bytes", ""},
		{"payload larger in header", plain(), func(p *parts) { p.header = "\x40\x08\x21\x01\x00\x00\x00" }, "payload of 7 bytes, want 8", ""},
		{"contents larger in header", plain(), func(p *parts) { p.header = "\x80\x04\x21\x01\x00\x00\x00" }, "contents end at byte 3, want 4", "size is 4 in its header, 3 in the index"},
		{"contents smaller in header", plain(), func(p *parts) { p.header = "\x80\x02\x21\x01\x00\x00\x00" }, "go on behind byte 2", "size is 2 in its header"},
		{"data in block padding", plain(), func(p *parts) { p.padding = "\x01" }, "padding holds 01", ""},

		{"chunk of unknown kind", plain(), func(p *parts) { p.chunks(3, "\x03\x00\x02abc"+end) }, "unknown kind 0x03", ""},
		{"last unknown kind", plain(), func(p *parts) { p.chunks(3, "\x7f\x00\x02abc"+end) }, "unknown kind 0x7f", ""},
		{"plain without dictionary", plain(), func(p *parts) { p.chunks(3, "\x02\x00\x02abc"+end) }, "needs a dictionary", ""},
		{"LZMA without dictionary", lzma(), func(p *parts) { p.payload = "\xc0" + p.payload[1:] }, "needs a dictionary", ""},
		{"LZMA without properties", lzma(), func(p *parts) { p.chunks(36, abc+"\xa0\x00\x20\x00\x16"+etaoin+end) }, "without properties", ""},
		{"plain dictionary drops properties", lzma(), func(p *parts) { p.chunks(69, p.payload[:29]+abc+"\xa0\x00\x20\x00\x16"+etaoin+end) }, "without properties", ""},
		{"lc + lp of 5", lzma(), func(p *parts) { p.payload = p.payload[:5] + "\x0d" + p.payload[6:] }, "lc 4, lp 1", ""},
		{"pb of 5", lzma(), func(p *parts) { p.payload = p.payload[:5] + "\xe1" + p.payload[6:] }, "pb 5", ""},
		{"range decoder starts with 1", lzma(), func(p *parts) { p.payload = p.payload[:6] + "\x01" + p.payload[7:] }, "chunk starts with 0x01", ""},
		{"chunk gives more", lzma(), func(p *parts) { p.payload, p.index = "\xe0\x00\x1f"+p.payload[3:], "\x01\x2a\x20" }, "match reaches over", ""},
		{"chunk gives less", lzma(), func(p *parts) { p.payload, p.index = "\xe0\x00\x21"+p.payload[3:], "\x01\x2a\x22" }, "chunk of 23 bytes", ""},
		{"chunk too short to start", lzma(), func(p *parts) { p.chunks(33, "\xe0\x00\x20\x00\x02\x5d"+etaoin[:3]+end) }, "chunk of 3 bytes", ""},
		{"match in no dictionary", lzma(), func(p *parts) { p.payload = p.payload[:7] + "\xff\xf0\x00\x00" + p.payload[11:] }, "before the dictionary", ""},

		{"match in old dictionary", lzma(), func(p *parts) { p.chunks(36, abc+p.payload[:7]+"\xff\xf0\x00\x00"+p.payload[11:]) }, "before the dictionary", ""},
		{"short repetition in old dictionary", lzma(), func(p *parts) { p.chunks(4, abc+"\xe0\x00\x00\x00\x04\x5d\x00\xc0\x00\x00\x00"+end) }, "before the dictionary", ""},
		{"range decoder ends with 1", lzma(), func(p *parts) { p.payload = p.payload[:28] + "\x01" + end }, "chunk of 23 bytes", ""},

		{"number of blocks", plain(), func(p *parts) { p.index = "\x00\x00\x00" }, "tells of 0 blocks, want 1", "stream starts with"},
		{"more blocks", plain(), func(p *parts) { p.index = "\x02\x13\x03" }, "tells of 2 blocks, want 1", "padding holds 0x26"},
		{"very many blocks", plain(), func(p *parts) { p.index, p.footer = "\xff\xff\xff\x7f\x00\x00\x00", "\x02\x00\x00\x00\x00\x00" }, "tells of 268435455 blocks", "more than 1048576 blocks"},
		{"block smaller in index", plain(), func(p *parts) { p.index = "\x01\x12\x03" }, "other blocks", "19 bytes long, 18 in the index"},
		{"block much larger in index", plain(), func(p *parts) { p.index = "\x01\x7f\x03" }, "other blocks", "more blocks than lie before"},
		{"block of too few bytes in index", plain(), func(p *parts) { p.index = "\x01\x04\x03" }, "block of 4 bytes", ""},
		{"block of too many bytes in index", plain(), func(p *parts) {
			p.index, p.footer = "\x01"+strings.Repeat("\xff", 8)+"\x7f\x03", "\x03\x00\x00\x00\x00\x00"
		}, "block of 9223372036854775807 bytes", ""},
		{"contents larger in index", plain(), func(p *parts) { p.index = "\x01\x13\x04" }, "other blocks", "contents end at byte 3, want 4"},
		{"contents of 64 bits", plain(), func(p *parts) {
			large := strings.Repeat("\x80", 8) + "\x40"
			p.index, p.footer = "\x02\x0c"+large+"\x08"+large+"\x00\x00", "\x06\x00\x00\x00\x00\x00"
		}, "tells of 2 blocks", "contents of more than"},
		{"data in index padding", plain(), func(p *parts) {
			p.payload, p.padding = "\x01\x00\x81"+strings.Repeat("a", 130)+end, "\x00\x00"
			p.index, p.footer = "\x01\x92\x01\x82\x01\x00\x01", "\x02\x00\x00\x00\x00\x00"
		}, "padding holds 0x01", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.damage(tt.file)
			file := tt.file.file()
			for way, unpack := range ways {
				want := tt.stream
				if tt.index != "" && strings.Contains(way, "worker") {
					want = tt.index
				}
				_, err := unpack(file)
				if want == "-" && err == nil {
					continue
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", way, err, want)
				}
				if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s: %v wraps neither ErrCorrupt nor ErrUnsupported", way, err)
				}
			}
		})
	}
}
