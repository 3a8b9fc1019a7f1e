package edit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

// treeWith returns a tree in a directory of the files given.
func treeWith(t *testing.T, files map[string]string) *rootfs.Dir {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, files)
	return openTree(t, dir)
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func openTree(t *testing.T, dir string) *rootfs.Dir {
	t.Helper()
	tree, err := rootfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

const file = "etc/file"

func TestEdits(t *testing.T) {
	const block = BlockStart + "\nx\ny\n" + BlockEnd + "\n"
	for _, tt := range []struct {
		name          string
		edit          Edit
		before, after string
	}{
		{"line replaced", Line{file, "127.0.1.1", "127.0.1.1\tp7"}, "127.0.0.1\tl\n127.0.1.1\tpi\n::1 l\n", "127.0.0.1\tl\n127.0.1.1\tp7\n::1 l\n"},
		{"line of another word", Line{file, "127.0.1.1", "127.0.1.1\tp7"}, "127.0.1.10 x\n127.0.1.1 y\n127.0.1.1\n", "127.0.1.10 x\n127.0.1.1\tp7\n"},
		{"line appended", Line{file, "127.0.1.1", "127.0.1.1\tp7"}, "127.0.0.1\tl\n", "127.0.0.1\tl\n127.0.1.1\tp7\n"},
		{"line appended to half a line", Line{file, "b", "b"}, "a", "a\nb\n"},
		{"second line goes", Line{file, "b", "b 2"}, "b\na\nb 1\n", "b 2\na\n"},
		{"setting", Setting{file, "ID", "7"}, "TYPE=\nID=\n", "TYPE=\nID=7\n"},
		{"whole key", Setting{file, "ID", "7"}, "FANID=1\nCLUSTERID=2\n#VALID=3\n#ID=4\nIDLE=5\n", "FANID=1\nCLUSTERID=2\n#VALID=3\n#ID=4\nIDLE=5\nID=7\n"},
		{"block appended", Block{Name: file, Text: "x\ny\n"}, "a\n", "a\n" + block},
		{"block replaced", Block{Name: file, Text: "x\ny\n"}, "a\n" + BlockStart + "\nold\n" + BlockEnd + "\nb\n", "a\n" + block + "b\n"},
		{"block after half a line", Block{Name: file, Text: "x\ny"}, "a", "a\n" + block},
		{"block removed", Block{Name: file}, "a\n" + block + "b\n", "a\nb\n"},
		{"block before sections", Block{Name: file, Text: "x\ny\n", Before: "part end"}, "a\n#part\n part 1\nend\n", "a\n#part\n" + block + " part 1\nend\n"},
		{"block moved before sections", Block{Name: file, Text: "x\ny\n", Before: "part end"}, "part 1\nb\n" + block + "part 2", block + "part 1\nb\npart 2"},
		{"block without sections", Block{Name: file, Text: "x\ny\n", Before: "part end"}, "parts\na end\n", "parts\na end\n" + block},
		{"block that is before sections", Block{Name: file, Text: "x\ny\n", Before: "part end"}, block + "b\npart\n", block + "b\npart\n"},
		{"blanks around marks", Block{Name: file, Text: "x\ny\n"}, "a\n" + BlockStart + " \t\r\nold\n  " + BlockEnd + "  \nb\n", "a\n" + block + "b\n"},
		{"END lost", Block{Name: file, Text: "x\ny\n"}, "a\n" + BlockStart + "\nx\nb\n", "a\n" + block + "b\n"},
		{"END lost, other numbers", Block{Name: file, Text: "x\ny\n", Was: "n 172.19.181.7\n"}, "a\n" + BlockStart + "\nx\nn 172.19.181.9\n1\nb 2\ny\n", "a\n" + block + "1\nb 2\ny\n"},
		{"END lost, removed", Block{Name: file, Was: "x\ny\n"}, "a\n" + BlockStart + "\nx\ny\nb\n", "a\nb\n"},
		{"START lost", Block{Name: file, Text: "x\ny\n"}, "a\n" + BlockEnd + "\nb\n", "a\n" + block + "b\n"},
		{"several blocks", Block{Name: file, Text: "x\ny\n"}, "a\n" + BlockStart + "\n1\n" + BlockEnd + "\nb\n" + BlockStart + "\n2\n" + BlockEnd + "\n", "a\n" + block + "b\n"},
		{"START twice", Block{Name: file, Text: "x\ny\n"}, BlockStart + "\nx\nb\n" + BlockStart + "\n2\n" + BlockEnd + "\n", block + "b\n"},
		{"last", Block{Name: file, Text: "x\ny\n", Reset: "[all]"}, "[a]\n" + block + "b", "[a]\n[all]\nb\n" + block},
		{"last already", Block{Name: file, Text: "x\ny\n", Reset: "[all]"}, "[a]\nb\n" + block + "\n", "[a]\nb\n\n" + block},
		{"no block to remove", Block{Name: file}, "a", "a"},
		{"file", WriteFile{Name: file, Data: "new"}, "old", "new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := treeWith(t, map[string]string{file: tt.before})
			for range 2 {
				if err := Apply(tree, []Edit{tt.edit}); err != nil {
					t.Fatal(err)
				}
				if got, _ := fs.ReadFile(tree, file); string(got) != tt.after {
					t.Errorf("%v: %q became %q, want %q", tt.edit, tt.before, got, tt.after)
				}
			}
		})
	}
}

// TestTwiceIsOnce applies edits of every kind to text of every kind.
func TestTwiceIsOnce(t *testing.T) {
	dir := treeWith(t, map[string]string{file: ""})
	line := rapid.SampledFrom([]string{"a", "ab=1", "a=", "a b", BlockStart, BlockEnd, "", "a\r", "# a"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 6).Draw(t, "text"), "\n")
		tree := rootfs.NewOverlay(dir)
		if err := tree.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		e := rapid.SampledFrom([]Edit{Line{file, "a", "a 2"}, Setting{file, "a", "2"}, Block{Name: file, Text: "a"}, Block{Name: file, Text: "a b", Before: "a"}, Block{Name: file}}).Draw(t, "edit")
		if err := e.Apply(tree); err != nil {
			t.Fatal(err)
		}
		once, _ := fs.ReadFile(tree, file)
		if err := e.Apply(tree); err != nil {
			t.Fatal(err)
		}
		if twice, _ := fs.ReadFile(tree, file); string(once) != string(twice) {
			t.Fatalf("%v of %q: once %q, twice %q", e, text, once, twice)
		}
	})
}

// TestFailedPlan applies nothing if the last edit cannot be made.
func TestFailedPlan(t *testing.T) {
	tree := treeWith(t, map[string]string{file: "old"})
	err := Apply(tree, []Edit{WriteFile{Name: file, Data: "new"}, EnableUnit{"no.service"}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "enable no.service: ") {
		t.Errorf("got %v, want fs.ErrNotExist with the edit in front", err)
	}
	if got, _ := fs.ReadFile(tree, file); string(got) != "old" {
		t.Errorf("the file has %q", got)
	}
}

func TestFiles(t *testing.T) {
	tree := treeWith(t, map[string]string{file: "old", "etc/key_a": "", "etc/key_b": "", "etc/other": ""})
	err := Apply(tree, []Edit{
		WriteFile{"etc/new/deep", "x", 0o600},
		Mkdir{"var/lib/x", 0o700},
		Symlink{"file", "etc/link"},
		Symlink{"there", file},
		RemoveMatching{"etc/key_*"},
		Remove{"etc/nothing"},
		WriteFile{"etc/other", "y", 0o400},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		info, _ := tree.Lstat(name)
		target, _ := tree.ReadLink(name)
		got = append(got, strings.TrimSpace(info.Mode().String()+" "+name+" "+target))
		return err
	})
	want := []string{"-rw------- etc/new/deep", "drwx------ var/lib/x", "Lrwxrwxrwx etc/link file", "Lrwxrwxrwx etc/file there", "-r-------- etc/other"}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("no %q in %q", w, got)
		}
	}
	for _, g := range got {
		if strings.Contains(g, "key_") {
			t.Errorf("%s is still there", g)
		}
	}
}

func TestParseCommandLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a b=1\n", "a b=1"},
		{"a  b\t c ", "a b c"},
		{"a\n\n \n", "a"},
		{`a "b c"="d  e" f`, `a "b c"="d  e" f`},
		{"a\nb\n", ""},
		{"a b\r\n", "a b"},
		{"a\r", "a"},
		{"\ufeffa\r\n\r\n", "a"},
		{"a\r b\n", ""},
		{"a\r\nb\r\n", ""},
		{"a\n# b c\n  #d\n", "a"},
		{"a\n# b\nc\n", ""},
		{`a "b c`, ""},
		{"\n", ""},
		{"", ""},
		{"a\x00", ""},
	} {
		got, err := ParseCommandLine(tt.text)
		if got.String() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseCommandLine(%q) = %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestCommandLineRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words, err := ParseCommandLine(rapid.String().Draw(t, "text"))
		if err != nil {
			return
		}
		if again, err := ParseCommandLine(words.String()); err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q became %q, %v", words, again, err)
		}
	})
}

func FuzzParseCommandLine(f *testing.F) {
	for _, seed := range []string{"", "a b", `"`, `a "b`, "a\nb", "\r", "\x00", "\xff\xfe a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := ParseCommandLine(text)
		if err == nil && (len(words) == 0 || strings.Contains(words.String(), "\n")) {
			t.Errorf("%q: got words %q", text, words)
		}
	})
}

func TestWriteDiff(t *testing.T) {
	tree := treeWith(t, map[string]string{file: "a\nb\n", "etc/gone": "x\n", "etc/mode": ""})
	plan, err := NewPlan(tree, []Edit{
		WriteFile{Name: file, Data: "a\nc\n"},
		WriteFile{Name: "etc/new", Data: "n\n", Perm: 0o600},
		WriteFile{Name: "etc/mode", Perm: 0o600},
		WriteFile{Name: "usr/bin/x", Data: "\x00\x01"},
		Symlink{"x", "usr/bin/y"},
		Remove{"etc/gone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := plan.WriteDiff(&b); err != nil {
		t.Fatal(err)
	}
	const want = `--- a/etc/file
+++ b/etc/file
@@ -1,2 +1,2 @@
 a
-b
+c
--- a/etc/gone
+++ /dev/null
@@ -1,1 +0,0 @@
-x
mode of /etc/mode: 0600, was 0644
file /etc/new mode 0600
--- /dev/null
+++ b/etc/new
@@ -0,0 +1,1 @@
+n
directory /usr mode 0755
directory /usr/bin mode 0755
file /usr/bin/x mode 0644
binary /usr/bin/x: 2 bytes, were 0
link /usr/bin/y -> x
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
