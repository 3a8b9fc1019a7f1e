package ext4

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestLargeDirectory fills directories until their index has as many levels as
// it can have, empties them in part, and fills them again.
func TestLargeDirectory(t *testing.T) {
	many := opt("-b", "1024", "-N", "8000", "-O", "^has_journal")
	for _, tt := range []struct {
		layout
		files, levels int
	}{
		{layout{name: "csum", size: "16M", options: many}, 1000, 1},
		{layout{name: "no csum", size: "16M", options: append(many, "-O", "^metadata_csum,^has_journal")}, 1000, 1},
		{layout{name: "unsigned", size: "16M", options: append(many, "-O", "^metadata_csum,^has_journal"), debugfs: "ssv flags 2"}, 1000, 1},
		{layout{name: "unsigned tea", size: "16M", options: append(many, "-O", "^metadata_csum,^has_journal"), tune: opt("-E", "hash_alg=tea"), debugfs: "ssv flags 2"}, 1000, 1},
		{layout{name: "unsigned legacy", size: "16M", options: append(many, "-O", "^metadata_csum,^has_journal"), tune: opt("-E", "hash_alg=legacy"), debugfs: "ssv flags 2"}, 1000, 1},
		{layout{name: "tea", size: "16M", options: many, tune: opt("-E", "hash_alg=tea")}, 1000, 1},
		{layout{name: "legacy", size: "16M", options: many, tune: opt("-E", "hash_alg=legacy")}, 1000, 1},
		{layout{name: "4k blocks", size: "30M", options: opt("-b", "4096", "-N", "9000")}, 2000, 0},
		{layout{name: "no index", size: "16M", options: append(many, "-O", "^dir_index,^has_journal")}, 1000, 0},
		{layout{name: "large_dir", size: "60M", options: opt("-b", "1024", "-N", "40000", "-O", "^has_journal,large_dir", "-I", "128")}, 33000, 2},
	} {
		if tt.files > 2000 && !*long {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			image := path.Join(scratch, "large "+tt.name)
			tt.make(t, image, "")
			m := &model{image: image, tree: fullTree(t, image), editor: openImage(t, image), now: time.Unix(1.8e9, 0)}
			m.small = m.super.InodeSize == shortInode
			m.SetTime(m.now)
			m.fillDirectory(t, tt.files)
			if got := m.levels(t, "d"); got != tt.levels {
				t.Errorf("index has %d levels, want %d", got, tt.levels)
			}
			m.done(t)
			judge(t, image, m.tree)
			os.Remove(image)
		})
	}
}

// fillDirectory makes files with long names, then others in the place of some.
func (m *model) fillDirectory(t *testing.T, files int) {
	name := func(i int) string { return fmt.Sprintf("d/%d-%s", i, strings.Repeat("å", 120)) }
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Mkdir("d", 0o755))
	m.born("d", 0o755|os.ModeDir, "")
	m.tree["d"].links = 2
	m.tree["."].links++
	for i := range files {
		must(m.Symlink("x", name(i)))
		m.born(name(i), 0o777|os.ModeSymlink, "x")
	}
	for i := 0; i < files; i += 3 {
		must(m.Remove(name(i)))
		m.drop(name(i))
	}
	for i := 0; i < files; i += 6 {
		must(m.Mkdir(name(i), 0o700))
		m.born(name(i), 0o700|os.ModeDir, "")
		m.tree[name(i)].links = 2
		if m.tree["d"].links++; m.tree["d"].links > maxLinks {
			m.tree["d"].links = 1
		}
	}
}

// sameHash are ends of names that, behind 200 times "c", all have the legacy
// hash 0x2468acf0.
var sameHash = []string{"'-RvIi", "+&iVJt", ".5cj7|", "1V%Kp)", "8!mP%P", "8L$IpD", ":b@KY;", ":c|69@", ":r!co@", "F7Mq6s", "Hb>9sc", "IzK@|7", "N8aPfx", "OD}o6p"}

// TestSameHash puts more names with the same hash into a directory than go
// into one of its blocks.
func TestSameHash(t *testing.T) {
	image := path.Join(scratch, "same hash")
	layout{size: "4M", options: opt("-b", "1024", "-I", "128"), tune: opt("-E", "hash_alg=legacy")}.make(t, image, "")
	defer os.Remove(image)
	m := &model{image: image, tree: fullTree(t, image), editor: openImage(t, image), now: time.Unix(1.8e9, 0), small: true}
	m.SetTime(m.now)
	names := slices.Clone(sameHash)
	for i := range 200 {
		names = append(names, fmt.Sprint(i))
	}
	for i := range names {
		name := strings.Repeat("c", 200) + names[i*77%len(names)]
		if err := m.Symlink("x", name); err != nil {
			t.Fatal(err)
		}
		m.born(name, 0o777|os.ModeSymlink, "x")
	}
	m.done(t)
	judge(t, image, m.tree)

	m.editor = openImage(t, image)
	m.SetTime(m.now)
	for _, end := range sameHash {
		name := strings.Repeat("c", 200) + end
		if hash := (hasher{}).hash([]byte(name)); hash != 0x2468acf0 {
			t.Errorf("hash of %q is %#x", end, hash)
		}
		if err := m.Remove(name); err != nil {
			t.Error(err)
		}
		m.drop(name)
		m.touch(".")
	}
	m.done(t)
	judge(t, image, m.tree)
}

// levels is how many levels of nodes an index has below its root.
func (m *model) levels(t *testing.T, name string) int {
	ino, err := m.walk(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := m.directory(ino)
	if err != nil {
		t.Fatal(err)
	}
	if !d.indexed() {
		return 0
	}
	_, root, err := d.index()
	if err != nil {
		t.Fatal(err)
	}
	return int(root.Levels)
}

// TestManyLinks makes more directories in one than its link count can count.
func TestManyLinks(t *testing.T) {
	if !*long {
		t.Log("only with -long")
		return
	}
	l := layout{name: "links", size: "100M", options: opt("-b", "1024", "-N", "66000", "-I", "128", "-O", "^has_journal")}
	image := path.Join(scratch, "links")
	l.make(t, image, "")
	e := openImage(t, image)
	for i := range maxLinks + 10 {
		if err := e.Mkdir(fmt.Sprint(i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if err := e.Remove(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := e.Lstat(".")
	if err != nil || info.Sys().(*Stat).Links != 1 {
		t.Errorf("Lstat() = %v, %v; want 1 link", info, err)
	}
	e.done(t)
	fsck(t, image)
	os.Remove(image)
}

// TestLinuxAfterUs has Linux change what we have changed, and us what Linux has.
func TestLinuxAfterUs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: nobody here may mount")
		return
	}
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			image := copyImage(t, l.template(t))
			defer os.Remove(image)
			e := openImage(t, image)
			for i := range 100 {
				name := fmt.Sprintf("etc/%d-%s", i, strings.Repeat("u", 90))
				if err := e.WriteFile(name, []byte(name), 0o644); err != nil && l.name != "few inodes" {
					t.Fatal(err)
				}
			}
			e.done(t)
			linuxChanges(t, image)
			fsck(t, image)
			want := kernelTree(t, image)
			want.equal(t, "own reader", ownTree(t, image), false)

			e = openImage(t, image)
			for name, r := range want {
				if r.mode.IsRegular() && strings.HasPrefix(name, "etc/") {
					if err := e.Remove(name); err != nil {
						t.Fatal(err)
					}
				}
			}
			e.done(t)
			fsck(t, image)
		})
	}
}

// linuxChanges has Linux remove some files, make others and change the rest.
func linuxChanges(t *testing.T, image string) {
	dir := mount(t, image, "rw")
	defer unmount(t, dir)
	for i := range 100 {
		var err error
		name := path.Join(dir, "etc", fmt.Sprintf("%d-%s", i, strings.Repeat("u", 90)))
		if _, statErr := os.Lstat(name); statErr != nil {
			continue // few inodes
		}
		switch i % 3 {
		case 0:
			err = os.Remove(name)
		case 1:
			err = os.Rename(name, name+"-renamed")
		case 2:
			err = os.WriteFile(name, make([]byte, 3000), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFS has the standard library judge how files are opened, read and listed.
func TestFS(t *testing.T) {
	sub := openImage(t, copyImage(t, layouts[0].template(t)))
	defer sub.done(t)
	for _, name := range []string{"etc/link", "etc/longlink", "etc/large"} { // fstest follows links, and reads bytewise
		if err := sub.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"null", "disk", "fifo", "pieces", "preallocated"} { // and opens what cannot be opened
		if err := sub.Remove("kernel/" + name); err != nil && os.Getuid() == 0 {
			t.Fatal(err)
		}
	}
	if err := fstest.TestFS(sub, "etc/hostname", "etc/same", "etc/empty", "many", "lost+found"); err != nil {
		t.Error(err)
	}
}

// TestXattrsKept overwrites and removes files with extended attributes, in and
// out of their inodes.
func TestXattrsKept(t *testing.T) {
	for i, l := range layouts {
		if i%5 != 0 {
			continue // six are enough
		}
		t.Run(l.name, func(t *testing.T) {
			image := copyImage(t, l.template(t))
			defer os.Remove(image)
			value := strings.Repeat("v", 600)
			for _, name := range []string{"hostname", "empty", "large"} {
				run(t, "debugfs", "-w", "-R", "ea_set /etc/"+name+" user.large "+value, image)
				run(t, "debugfs", "-w", "-R", "ea_set /etc/"+name+" user.small x", image)
			}
			e := openImage(t, image)
			for _, err := range []error{e.WriteFile("etc/hostname", make([]byte, 5000), 0), e.WriteFile("etc/empty", nil, 0), e.Remove("etc/large")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			e.done(t)
			fsck(t, image)
			want := fullTree(t, image)
			judge(t, image, want)
			attrs := printXattrs(map[string][]byte{"user.large": []byte(value), "user.small": []byte("x")})
			if got := want["etc/hostname"].xattrs; got != attrs {
				t.Errorf("attributes %s, want %s", got, attrs)
			}
		})
	}
}
