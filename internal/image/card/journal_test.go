package card

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJournal(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	open := func() *Journal {
		t.Helper()
		j, err := OpenJournal(name, "image one")
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open()
	for _, role := range []string{"cnat", "p1"} {
		if err := j.Add(Result{Name: role, Disk: Disk{Model: "SC32G", Serial: "0x1234", Size: 32e9}, Digest: "d-" + role}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The power may be cut at any byte of the last line.
	for n := len(whole) - 1; n > strings.Index(string(whole), "\n"); n-- {
		if err := os.WriteFile(name, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open()
		first, one := j.Entry("cnat")
		_, two := j.Entry("p1")
		if !one || two || first.Serial != "0x1234" || first.Digest != "d-cnat" || first.Image != "image one" {
			t.Fatalf("after %d of %d bytes: %+v, %v, %v", n, len(whole), first, one, two)
		}
		if err := j.Add(Result{Name: "p2"}); err != nil {
			t.Fatal(err)
		}
		j.Close()
		j = open()
		if _, ok := j.Entry("p2"); !ok {
			t.Fatalf("what was noted after %d of %d bytes is lost", n, len(whole))
		}
		j.Close()
	}
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ image, more, want string }{
		{"image two", "", "line 1: cnat was written with another image: want --journal with another name"},
		{"image one", "text\n", "line 3: no entry of a journal of cards"},
		{"image one", "{}\n", "line 3: no entry of a journal of cards"},
	} {
		text := string(whole) + tt.more
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(name, tt.image); err == nil || err.Error() != name+": "+tt.want {
			t.Errorf("error %v; want %s", err, tt.want)
		}
		if now, _ := os.ReadFile(name); string(now) != text {
			t.Error("a journal that was refused was changed")
		}
	}
}
