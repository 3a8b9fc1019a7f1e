package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestNames creates files with names of all kinds, and holds the listing and
// the aliases against fsck.fat and mtools.
func TestNames(t *testing.T) {
	template := formats[11].make(t)
	runes := rapid.OneOf(rapid.RuneFrom([]rune("abcABC. ~1+,;=[]()'&éÉß漢😀\x7f")), rapid.Rune())
	name := rapid.OneOf(rapid.StringOfN(runes, 1, 12, -1), rapid.StringOfN(runes, 1, 255, -1))
	rapid.Check(t, func(t *rapid.T) {
		image := copyImage(t, template)
		fsys := open(t, image)
		fsys.SetTime(may)
		want := map[string]leaf{".": {dir: true}}
		for _, name := range rapid.SliceOfN(name, 1, 20).Draw(t, "names") {
			if !fs.ValidPath(name) || strings.Contains(name, "/") || checkName(name) != nil || fsys.root.find(name) != nil {
				continue
			}
			if err := fsys.WriteFile(name, []byte(name), 0o755); err != nil {
				t.Fatal(err)
			}
			want[name] = leaf{false, name, may}
		}
		if err := fsys.Close(); err != nil {
			t.Fatal(err)
		}
		fsys = open(t, image)
		if diff := cmp.Diff(want, tree(t, fsys), cmp.AllowUnexported(leaf{})); diff != "" {
			t.Fatalf("we see (-want +got):\n%s", diff)
		}
		var aliases []string
		for _, e := range fsys.root.entries {
			aliases = append(aliases, e.short)
			if strings.ContainsFunc(e.short, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("abc+,;=[]", r) }) {
				t.Fatalf("the alias of %q is %q", e.name, e.short)
			}
		}
		slices.Sort(aliases)
		if len(slices.Compact(aliases)) != len(want)-1 {
			t.Fatalf("aliases are not unique: %q", aliases)
		}
		fsck(t, image)
	})
}

func TestAlias(t *testing.T) {
	for _, tt := range []struct {
		name  string
		want  string // what the kernel would make of it in an empty directory
		exact bool
	}{
		{"KERNEL.IMG", "KERNEL.IMG", true},
		{"cmdline.txt", "CMDLINE.TXT", true},
		{"bcm2710-rpi-3-b.dtb", "BCM2710-.DTB", false},
		{"x.dtbo", "X.DTB", false},
		{"a b.txt", "AB.TXT", false},
		{"a.b.c", "AB.C", false},
		{".bashrc", "BASHRC", false},
		{"..two", "TWO", false},
		{". x.y", "X.Y", false},
		{"x+y[1]", "X_Y_1_", false},
		{"grüße", "GR__E", false},
		{"漢字", "__", false},
		{"12345678.123", "12345678.123", true},
		{"123456789.123", "12345678.123", false},
		{"~tilde{}", "~TILDE{}", true},
	} {
		if a := newAlias(tt.name); a.String() != tt.want || a.exact != tt.exact {
			t.Errorf("%s: got %s, %v; want %s, %v", tt.name, a, a.exact, tt.want, tt.exact)
		}
	}
}

// TestNumberedAliases has more files of one alias than a digit can tell apart.
func TestNumberedAliases(t *testing.T) {
	fsys := edit(t, formats[0].make(t), func(fsys *FS) (err error) {
		for i := range 40 {
			err = errors.Join(err, fsys.WriteFile(fmt.Sprintf("kernel-of-%d.image", i), nil, 0o755))
		}
		return err
	})
	if e := fsys.root.find("kernel-of-8.image"); e.short != "KERNEL~9.IMA" {
		t.Errorf("the ninth alias is %s, want KERNEL~9.IMA", e.short)
	}
	if e := fsys.root.find("kernel-of-9.image"); len(e.short) != 12 || e.short[:2] != "KE" || e.short[6:] != "~1.IMA" {
		t.Errorf("the tenth alias is %s, want KExxxx~1.IMA", e.short)
	}
}

// TestNameLengths has names around whole slots, to the longest there is.
func TestNameLengths(t *testing.T) {
	image, want := formats[0].make(t), map[string]leaf{".": {dir: true}}
	fsys := edit(t, image, func(fsys *FS) (err error) {
		for _, n := range []int{1, 12, 13, 14, 25, 26, 27, 247, 248, 255} {
			name := strings.Repeat("n", n)
			want[name] = leaf{false, name, may}
			err = errors.Join(err, fsys.WriteFile(name, []byte(name), 0o755))
		}
		return err
	})
	for who, got := range map[string]map[string]leaf{"we": tree(t, fsys), "mtools": mtoolsTree(t, image)} {
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(leaf{})); diff != "" {
			t.Errorf("%s see (-want +got):\n%s", who, diff)
		}
	}
}

// TestLongNames reads names whose slots were damaged. Slots that do not belong to a name
// are ignored, and stay when the file is removed.
func TestLongNames(t *testing.T) {
	small := smallImage(t, 16)
	const (
		long, short   = root16 + 1*slot, root16 + 2*slot
		second, first = first16 + 4*sector + 2*slot, first16 + 4*sector + 3*slot
	)
	for _, tt := range []struct {
		name, patch, want string
		slots             int
	}{
		{"nothing", "", "cmdline.txt", 2},
		{"checksum", at(long+13, "\x00"), "CMDLINE.TXT", 1},
		{"another short name", at(short, "D"), "DMDLINE.TXT", 1},
		{"not the last slot", at(long, "\x42"), "CMDLINE.TXT", 1},
		{"no first slot", at(long, "\x01"), "CMDLINE.TXT", 1},
		{"order 0", at(long, "\x40"), "CMDLINE.TXT", 1},
		{"order too high", at(long, "\x55"), "CMDLINE.TXT", 1},
		{"slash", at(long+1, "/"), "CMDLINE.TXT", 2},
		{"shorter", at(long+7, "\x00"), "cmd", 2},
		{"lower case", at(long, "\xe5") + at(short+12, "\x18"), "cmdline.txt", 1},
		{"lower-case stem", at(long, "\xe5") + at(short+12, "\x08"), "cmdline.TXT", 1},
		{"code page", at(long, "\xe5") + at(short, "\x9a\x05\xe1"), "Ü\x05ßLINE.TXT", 1},
		{"first byte 0xe5", at(long, "\xe5") + at(short, "\x05"), "σMDLINE.TXT", 1},
		{"two slots", "", "sub/a long name.txt", 3},
		{"checksum of one of two", at(second+13, "\x00"), "sub/ALONGN~1.TXT", 1},
		{"checksum of the other", at(first+13, "\x00"), "sub/ALONGN~1.TXT", 1},
		{"second of two deleted", at(second, "\xe5"), "sub/ALONGN~1.TXT", 1},
		{"first of two deleted", at(first, "\xe5"), "sub/ALONGN~1.TXT", 1},
		{"wrong order", at(second, "\x43"), "sub/ALONGN~1.TXT", 1},
	} {
		image := small.patched(tt.patch)
		fsys, err := Open(image, int64(len(image)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		e, err := fsys.lookup(tt.want)
		if err != nil || e.name != path.Base(tt.want) || e.slot-e.first+1 != tt.slots {
			t.Errorf("%s: got %+v, %v; want %q in %d slots", tt.name, e, err, tt.want, tt.slots)
		}
	}
}
