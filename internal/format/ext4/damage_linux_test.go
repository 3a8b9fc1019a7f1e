package ext4

import (
	"bytes"
	"errors"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Numbers of [smallLayouts].
const (
	plain = iota
	gdtCsum
	withCsum
	blockMap
)

// Offsets of fields in the superblock, a group descriptor and an inode.
const (
	inodes, firstData, perGroup, clusters, groupInodes = 0x00, 0x14, 0x20, 0x24, 0x28
	superMagicAt, revision, firstInode, inodeSize      = 0x38, 0x4c, 0x54, 0x58
	reservedGDT, checksumType, superChecksum           = 0xce, 0x175, 0x3fc

	bitmapAt, inodeBitmapAt, tableAt, blocksFree, inodesFree = 0x00, 0x04, 0x08, 0x0c, 0x0e

	sizeLow, links, flags, fileACL, sizeHigh, extraSizeAt = 0x04, 0x1a, 0x20, 0x68, 0x6c, 0x80

	blockAt                               = 0x28 // of the inode's pointers, or extents:
	headEntries, headMax, headDepth       = blockAt + 2, blockAt + 4, blockAt + 6
	extentLogical, extentLen, extentLow   = blockAt + 12, blockAt + 16, blockAt + 20
	indirect                              = blockAt + 48
	dotdotInode, dotdotLength, thirdInode = 12, 16, 24 // in the first block of a directory
)

// A damage is bytes written somewhere into a small image, and what an edit of it
// says then. Places are "super", "descriptor" of the first group, "inode NAME",
// "block NAME", the first of a file, "bitmap", or "attributes NAME".
type damage struct {
	victim int
	place  string
	at     int
	bytes  string
	want   string
}

func short(n int) string { return string([]byte{byte(n), byte(n >> 8)}) }
func long4(n int) string { return short(n) + short(n>>16) }

var damages = map[string]damage{
	"no magic":                 {plain, "super", superMagicAt, "\x00\x00", "not an ext4 file system"},
	"revision 0":               {plain, "super", revision, "\x00", "revision 0"},
	"first data block 0":       {plain, "super", firstData, "\x00", "first data block 0"},
	"few blocks in a group":    {plain, "super", perGroup, short(128), "blocks in a group 128"},
	"many blocks in a group":   {plain, "super", perGroup, short(8200), "blocks in a group 8200"},
	"clusters":                 {plain, "super", clusters, short(8), "clusters in a group 8"},
	"inodes in a group":        {plain, "super", groupInodes, short(4), "inodes in a group 4"},
	"inodes over the bitmap":   {plain, "super", groupInodes, short(8200), "inodes in a group 8200"},
	"more inodes than groups":  {plain, "super", inodes, short(129), "number of inodes 129"},
	"inode of 129 bytes":       {plain, "super", inodeSize, short(129), "inode size 129"},
	"inode over a block":       {plain, "super", inodeSize, short(2048), "inode size 2048"},
	"first inode 10":           {plain, "super", firstInode, short(10), "first inode 10"},
	"first inode over the end": {plain, "super", firstInode, short(129), "first inode 129"},
	"reserved descriptors":     {plain, "super", reservedGDT, short(257), "reserved descriptor blocks 257"},
	"checksum type":            {withCsum, "super", checksumType, "\x02", "checksum type 2"},
	"superblock's checksum":    {withCsum, "super", superChecksum, "\x00\x00\x00\x00", "checksum 0x"},

	"bitmap at 0":              {plain, "descriptor", bitmapAt, long4(0), "bitmap or inode table at block 0"},
	"bitmap over the end":      {plain, "descriptor", bitmapAt, long4(600), "bitmap or inode table at block 600"},
	"table over the end":       {plain, "descriptor", tableAt, long4(599), "bitmap or inode table at block 599"},
	"two uses":                 {plain, "descriptor", inodeBitmapAt, long4(1), "bitmap or inode table at block 1"},
	"table on the descriptors": {plain, "descriptor", tableAt, long4(2), "has two uses"},
	"free blocks":              {plain, "descriptor", blocksFree, short(1), "free blocks, descriptor 1"},
	"too many free blocks":     {plain, "descriptor", blocksFree, short(600), "600 free blocks"},
	"free inodes":              {plain, "descriptor", inodesFree, short(1), "free inodes, descriptor 1"},
	"too many free inodes":     {plain, "descriptor", inodesFree, short(129), "129 free"},
	"descriptor's checksum":    {gdtCsum, "descriptor", blocksFree, short(1), "descriptor checksum"},
	"bitmap's checksum":        {withCsum, "bitmap", 127, "\x00", "bitmap checksum"},

	"inode's checksum":       {withCsum, "inode etc/large", links, "\x02", "inode checksum"},
	"deleted":                {plain, "inode etc/large", links, "\x00", "a deleted inode is in a directory"},
	"unknown flags":          {plain, "inode etc/large", flags + 3, "\x10", "inode flags 0x10080000"},
	"negative size":          {plain, "inode etc/large", sizeHigh + 3, "\x80", "size 9223372036854"},
	"extra bytes":            {plain, "inode etc/large", extraSizeAt, short(132), "132 extra bytes"},
	"extra bytes, not whole": {plain, "inode etc/large", extraSizeAt, short(30), "30 extra bytes"},
	"link too long":          {plain, "inode etc/longlink", sizeLow, short(1025), "link target of 1025 bytes"},
	"directory cut off":      {plain, "inode etc", sizeLow, short(1000), "directory of 1000 bytes"},
	"directory too long":     {plain, "inode etc", sizeLow, short(2048), "directory of 2048 bytes has 1 block"},

	"extent magic":           {plain, "inode etc/large", blockAt, "\x00\x00", "extent magic 0x0"},
	"more extents than room": {plain, "inode etc/large", headMax, "\x05", "room for 4"},
	"more extents than that": {plain, "inode etc/large", headEntries, "\x05", "with 5 of 4 entries"},
	"extents too deep":       {plain, "inode etc/large", headDepth, "\x06", "extent node of depth 6"},
	"nodes without nodes":    {plain, "inode etc/holes", headEntries, "\x00", "extent node without entries"},
	"extent of nothing":      {plain, "inode etc/pieces", extentLen, short(0), "extent of no blocks"},
	"extent over the end":    {plain, "inode etc/pieces", extentLow, long4(599), "blocks 599+30 of 600"},
	"extent before the data": {plain, "inode etc/pieces", extentLow, long4(0), "blocks 0+30 of 600"},
	"extent on the table":    {plain, "inode etc/pieces", extentLow, long4(2), "belong to the file system itself"},
	"extent at the end":      {plain, "inode etc/pieces", extentLogical, "\xff\xff\xff\xff", "is out of order"},
	"node's entries":         {plain, "node etc/holes", 2, "\x00", "extent node without entries"},
	"node's depth":           {plain, "node etc/holes", 6, "\x01", "extent node of depth 1, want 0"},
	"node's order":           {plain, "node etc/holes", 24, long4(0), "is out of order"},
	"node's checksum":        {withCsum, "node etc/holes", 13, "\x01", "checksum 0x"},
	"node's room":            {withCsum, "node etc/holes", 4, short(85), "has no room for a checksum"},

	"pointer over the end":  {blockMap, "inode etc/large", blockAt, long4(600), "blocks 600+1 of 600"},
	"pointers over the end": {blockMap, "inode etc/large", indirect, long4(600), "blocks 600+1 of 600"},
	"pointers on the table": {blockMap, "inode etc/large", indirect, long4(2), "belong to the file system itself"},
	"directory with a hole": {plain, "inode lost+found", extentLogical, long4(1), "directory with a hole"},

	"entry of no inode there is": {plain, "block etc", thirdInode, long4(129), "inode 129 of 128"},
	"entry of a reserved inode":  {plain, "block etc", thirdInode, long4(5), "reserved inode 5 in a directory"},
	"entry cut off":              {plain, "block etc", dotdotLength, short(1024 - 12 - 4), "directory entry at 1020 is cut off"},
	"entry of no length":         {plain, "block etc", dotdotLength, short(0), "directory entry at 12"},
	"entry over the end":         {plain, "block etc", dotdotLength, short(1024), "directory entry at 12"},
	"entry not aligned":          {plain, "block etc", dotdotLength, short(13), "directory entry at 12"},
	"entry with a slash":         {plain, "block etc", thirdInode + 8, "/", "directory entry at 24 is named \"/"},
	"entry with a zero":          {plain, "block etc", thirdInode + 9, "\x00", "directory entry at 24 is named"},
	"entry without a name":       {plain, "block etc", thirdInode + 6, "\x00", "directory entry at 24 is named \"\""},
	"index of an unknown hash":   {plain, "block many", 28, "\x09", "hash version 9"},

	"attributes elsewhere":   {plain, "inode etc/cap", fileACL, long4(600), "blocks 600+1 of 600"},
	"no attributes":          {plain, "attributes etc/cap", 2, "\x00", "of extended attributes"},
	"attributes' checksum":   {withCsum, "attributes etc/cap", 16, "\x00\x00\x00\x00", "of extended attributes: checksum"},
	"attribute of no space":  {plain, "attributes etc/cap", 32 + 1, "\x09", "extended attribute {"},
	"attribute in an inode":  {plain, "attributes etc/cap", 32 + 4, "\x0c", "extended attribute {"},
	"attribute over the end": {plain, "attributes etc/cap", 32 + 8, short(1000), "ends at 1524 of 1024"},
}

// TestDamages holds each damage against what Open or an edit says. Without the
// check, it would be taken for true.
func TestDamages(t *testing.T) {
	all, err := victims()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			image := memory(bytes.Clone(all[d.victim].image))
			copy(image[d.offset(t):], d.bytes)
			if err := trouble(image); err == nil || !strings.Contains(err.Error(), d.want) {
				t.Errorf("got %v\nwant %s", err, d.want)
			}
		})
	}
}

// trouble returns what Open, or else [exercise], says is wrong with an image.
func trouble(image memory) error {
	f, err := Open(image, int64(len(image)))
	if err != nil {
		return err
	}
	var all []error
	exercise(f, func(err error) {
		if errors.Is(err, ErrCorrupt) || errors.Is(err, errors.ErrUnsupported) {
			all = append(all, err)
		}
	})
	return errors.Join(all...)
}

// offset asks debugfs where the place of a damage is in the image.
func (d damage) offset(t *testing.T) int {
	t.Helper()
	const blockSize = 1024
	image := filepath.Join(scratch, strings.ReplaceAll(smallLayouts[d.victim].name, " ", "-"))
	ask := func(request, answer string) (numbers []int) {
		out := run(t, "debugfs", "-R", request, image)
		m := regexp.MustCompile(answer).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("debugfs %s says %q", request, out)
		}
		for _, text := range m[1:] {
			n, err := strconv.ParseInt(text, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, int(n))
		}
		return numbers
	}
	what, name, _ := strings.Cut(d.place, " ")
	switch what {
	case "super":
		return superblockOffset + d.at
	case "descriptor":
		return 2*blockSize + d.at
	case "bitmap":
		return ask("stats", `block bitmap at (\d+)`)[0]*blockSize + d.at
	case "inode":
		at := ask("imap "+name, `located at block (\d+), offset (0x[0-9a-f]+)`)
		return at[0]*blockSize + at[1] + d.at
	case "block":
		return ask("bmap "+name+" 0", `(\d+)\s*$`)[0]*blockSize + d.at
	case "node":
		return ask("ex "+name, ` 0/ 1 +1/ +\d+ +\d+ - +\d+ +(\d+)`)[0]*blockSize + d.at
	case "attributes":
		return ask("stat "+name, `File ACL: (\d+)`)[0]*blockSize + d.at
	}
	t.Fatalf("place %q", d.place)
	return 0
}
