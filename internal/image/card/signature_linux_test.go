package card

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// disk makes a file of size bytes and puts bytes in places of it.
func disk(t *testing.T, size int64, places map[int64]string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, p := range places {
		if _, err := f.WriteAt([]byte(p), off); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// blkid is util-linux's opinion of what a disk holds.
func blkid(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("/usr/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", name).Output()
	if err != nil {
		t.Fatalf("blkid: %v (apt-get install util-linux)", err)
	}
	return strings.TrimSpace(string(out))
}

// lvmLabel is the label of a physical volume, in its sector, with the checksum that
// LVM wants: CRC-32 from another start than usual, over the rest of the sector.
func lvmLabel(sector byte) string {
	label := make([]byte, SectorSize)
	copy(label, "LABELONE")
	label[8] = sector
	copy(label[20:], "\x20\x00\x00\x00LVM2 001")
	copy(label[32:], strings.Repeat("u", 32))
	const start = 0xf597a6cf
	binary.LittleEndian.PutUint32(label[16:], ^crc32.Update(^uint32(start), crc32.IEEETable, label[20:]))
	return string(label)
}

// raidSuperblock is one of md, of version 1 and at a place in sectors.
func raidSuperblock(place uint64) string {
	s := make([]byte, 256)
	copy(s, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")
	binary.LittleEndian.PutUint64(s[0x90:], place)
	return string(s)
}

// TestMember has blkid say of what disks are members.
func TestMember(t *testing.T) {
	const size = 64<<20 + 12345*SectorSize
	const end = size - 1
	last := int64(size-8<<10) / (4 << 10) * (4 << 10)
	zfs := map[int64]string{}
	for n := range int64(8) {
		zfs[128<<10+n<<10] = "\x0c\xb1\xba\x00\x00\x00\x00\x00\x88\x13"
	}
	for _, tt := range []struct {
		name, want, blkid string
		places            map[int64]string
	}{
		{"LVM", "LVM", "LVM2_member", map[int64]string{512: lvmLabel(1)}},
		{"LVM in sector 3", "LVM", "LVM2_member", map[int64]string{3 * 512: lvmLabel(3)}},
		{"md 1.2", "RAID", "linux_raid_member", map[int64]string{4096: raidSuperblock(8)}},
		{"md 1.1", "RAID", "linux_raid_member", map[int64]string{0: raidSuperblock(0)}},
		{"md 1.0", "RAID", "linux_raid_member", map[int64]string{last: raidSuperblock(uint64(last / 512))}},
		{"md 0.90", "RAID", "linux_raid_member", map[int64]string{size/(64<<10)*(64<<10) - 64<<10: "\xfc\x4e\x2b\xa9\x00\x00\x00\x00\x5a\x00\x00\x00"}},
		{"ZFS", "ZFS", "zfs_member", zfs},
		{"nothing", "", "", map[int64]string{end: "\x01"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := disk(t, size, tt.places)
			if tt.blkid != "" {
				if got := blkid(t, name); got != tt.blkid {
					t.Errorf("blkid says %q, want %q: the test is wrong", got, tt.blkid)
				}
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := member(f, []part{{0, size}}); got != tt.want {
				t.Errorf("member() = %q; want %q", got, tt.want)
			}
		})
	}
}

// TestContent has mkfs make what is to be recognised.
func TestContent(t *testing.T) {
	for want, mkfs := range map[string]string{
		`ext "rootfs"`: "mke2fs -q -t ext4 -L rootfs $0", `ext`: "mke2fs -q -t ext2 $0",
		`FAT "BOOTFS"`: "mkfs.fat -F 32 -n BOOTFS $0", `FAT`: "mkfs.fat -F 16 $0",
		`XFS "data"`: "truncate -s 400M $0 && mkfs.xfs -q -L data $0", `btrfs "data"`: "truncate -s 200M $0 && mkfs.btrfs -q -L data $0",
		"swap": "mkswap -q $0", "empty": "true", "unknown": "dd if=/dev/urandom of=$0 bs=64k count=1 conv=notrunc status=none",
		`2 partitions: empty, empty`: `printf 'start=2048, size=2048\nstart=8192, size=2048\n' | sfdisk -q $0`,
	} {
		name := disk(t, 64<<20, nil)
		cmd := exec.Command("sh", "-ec", mkfs, name)
		cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", mkfs, err, out)
		}
		d, err := Find(name, true)
		if err != nil || d.Content != want {
			t.Errorf("%s: %q, %v; want %s", mkfs, d.Content, err, want)
		}
	}
}
