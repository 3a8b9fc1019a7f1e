package nfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// odd is what a root may hold that a plain copy loses.
const odd = `mkdir -p sgid sticky dir/below
echo text >file && chown 12345:2097152 file && chmod 4751 file && touch -d '1999-12-31 23:59:59.123456789' file
ln file hard && ln file sgid/harder
ln -s ../nowhere dangling && chown -h 7:8 dangling && touch -h -d 2001-02-03 dangling
mknod null c 1 3 && mknod disk b 259 70000 && mkfifo pipe && chmod 640 pipe
chmod 2775 sgid && chmod 1777 sticky
printf capable >ping && setcap cap_net_raw+ep ping
printf acl >acl && setfacl -m u:1000:rw,g:50:r acl && setfacl -d -m u:1000:rwx sticky
setfattr -n user.note -v 'two words' dir
truncate -s 50M hole && printf start | dd of=hole conv=notrunc status=none && printf end | dd of=hole bs=1M seek=20 conv=notrunc status=none
truncate -s 12345 all-hole
: >empty
printf deep >"dir/below/$(printf 'n%.0s' $(seq 255))"
touch -d 2010-01-01 dir/below dir sticky .`

// describe lists all that a tree's copy must have.
const describeTree = `find . -printf '%P %y %#m %U:%G %T@ %l\n' | sort
find . -type f -printf '%P %s %n\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
find . -samefile file | sort
find . -print0 | sort -z | xargs -0 getfattr -h -d -m -`

func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return string(out)
}

// roots opens directories that are made for it.
func roots(t *testing.T, names ...string) []*os.Root {
	t.Helper()
	var all []*os.Root
	for _, name := range names {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		all = append(all, root)
	}
	return all
}

// TestUnpack unpacks what GNU tar packed, into two trees at once.
func TestUnpack(t *testing.T) {
	work := t.TempDir()
	shell(t, work, "mkdir odd && cd odd\n"+odd)
	shell(t, work, "tar -c --format=pax --sparse --xattrs --xattrs-include='*' -f odd.tar -C odd .")
	archive, err := os.Open(filepath.Join(work, "odd.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := unpack(context.Background(), archive, roots(t, filepath.Join(work, "p1"), filepath.Join(work, "p2"))); err != nil {
		t.Fatal(err)
	}
	want := shell(t, filepath.Join(work, "odd"), describeTree)
	if !strings.Contains(want, "security.capability") || !strings.Contains(want, "system.posix_acl_default") {
		t.Fatal("the odd files lack their attributes")
	}
	for _, copied := range []string{"p1", "p2"} {
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(shell(t, filepath.Join(work, copied), describeTree), "\n")); diff != "" {
			t.Errorf("%s: -packed +unpacked:\n%s", copied, diff)
		}
	}
	if kib := shell(t, work, "du -k p1/hole | cut -f 1"); len(kib) > len("999\n") {
		t.Errorf("a file of 50 MiB with two blocks takes %s KiB", strings.TrimSpace(kib))
	}
}

// An entry of a tar archive.
type entry struct {
	name string
	kind byte
	link string
}

// pack makes an archive; the content of each file is "new".
func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o644, Format: tar.FormatPAX}
		if e.kind == tar.TypeReg {
			h.Size = 3
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := w.Write([]byte("new")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// digest is of names, modes and contents of all that is in a directory, but for the
// tree at one name.
func digest(t *testing.T, dir, but string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == but {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, name, info.Mode(), info.Size(), info.ModTime())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			sum.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// TestUnpackHostile holds that no archive changes what is outside of the tree.
func TestUnpackHostile(t *testing.T) {
	const reg, dir, sym, hard = tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	for _, tt := range []struct {
		name    string
		archive func(outside string) []entry
		err     string // what the error says, nothing if the archive is taken
	}{
		{"absolute", func(o string) []entry { return []entry{{o + "/victim", reg, ""}} }, "leads out"},
		{"dots", func(string) []entry { return []entry{{"../outside/victim", reg, ""}} }, "leads out"},
		{"dots within", func(string) []entry { return []entry{{"a/../../outside/victim", reg, ""}} }, "leads out"},
		{"through a link", func(o string) []entry { return []entry{{"l", sym, o}, {"l/victim", reg, ""}} }, "escapes"},
		{"through a relative link", func(string) []entry { return []entry{{"l", sym, "../outside"}, {"l/victim", reg, ""}} }, "escapes"},
		{"over a link", func(o string) []entry { return []entry{{"l", sym, o + "/victim"}, {"l", reg, ""}} }, "file exists"},
		{"a directory over a link", func(o string) []entry { return []entry{{"l", sym, o}, {"l", dir, ""}, {"l/new", reg, ""}} }, "another file"},
		{"hard link out", func(o string) []entry { return []entry{{"l", hard, o + "/victim"}, {"l", reg, ""}} }, "leads out"},
		{"hard link through a link", func(o string) []entry { return []entry{{"l", sym, o}, {"h", hard, "l/victim"}} }, "escapes"},
		{"root twice, then inside", func(string) []entry { return []entry{{"./", dir, ""}, {"./", dir, ""}, {"file", reg, ""}} }, ""},
		{"a link that dangles is kept", func(o string) []entry { return []entry{{"l", sym, o + "/victim"}} }, ""},
		{"two files of one name", func(string) []entry { return []entry{{"file", reg, ""}, {"file", reg, ""}} }, "file exists"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			work := t.TempDir()
			outside, tree := filepath.Join(work, "outside"), filepath.Join(work, "tree")
			if err := os.MkdirAll(outside, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			into := roots(t, tree)
			before := digest(t, work, tree)
			err := unpack(context.Background(), bytes.NewReader(pack(t, tt.archive(outside)...)), into)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			if digest(t, work, tree) != before {
				t.Error("something outside of the tree has changed")
			}
		})
	}
}

// TestUnpackCutShort cuts an archive everywhere: never is a part taken for the whole.
func TestUnpackCutShort(t *testing.T) {
	archive := pack(t, entry{"dir", tar.TypeDir, ""}, entry{"dir/file", tar.TypeReg, ""}, entry{"dir/link", tar.TypeSymlink, "file"})
	for cut := 1; cut < len(archive); cut += 37 {
		work := t.TempDir()
		if err := unpack(context.Background(), bytes.NewReader(archive[:cut]), roots(t, work)); err == nil {
			t.Errorf("%d of %d bytes were taken for all", cut, len(archive))
		}
	}
}
