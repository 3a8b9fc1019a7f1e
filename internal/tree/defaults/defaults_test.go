package defaults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValue(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       string // value of ID
		err        string // part of the error
	}{
		{"plain", "ID=7\n", "7", ""},
		{"not there", "TYPE=node\n", "", ""},
		{"whole key", "FANID=1\nCLUSTERID=2\n#VALID=3\n#ID=4\nIDLE=5\nID2=6\n", "", ""},
		{"last counts", "ID=1\nID=2\n", "2", ""},
		{"export and blanks", "  ID=4\n\texport \t ID=7  \n", "7", ""},
		{"exported by name alone", "exportID=4\n", "", ""},
		{"CRLF", "ID=7\r\n", "7", ""},
		{"byte order mark", "\ufeffID=7\r\n", "7", ""},
		{"quotes", `ID="n"'c'm` + "\n", "ncm", ""},
		{"quoted quotes", `ID="it's" # "` + "\n", "it's", ""},
		{"comment", "ID=7 # mine\n", "7", ""},
		{"comment with an apostrophe", "ID=7 # it's\n", "7", ""},
		{"semicolon", "ID=7; TYPE=c\n", "7", ""},
		{"no comment", "ID=a#b\n", "a#b", ""},
		{"quoted comment", "ID='a # b; c'\n", "a # b; c", ""},
		{"blanks", "ID=p1  p3-p5 # at boot\n", "p1  p3-p5", ""},
		{"empty", "ID= # none\n", "", ""},
		{"no newline at the end", "ID=7", "7", ""},
		{"open quote", "TYPE=c\nID=\"7\n", "", `line 2: ID: no closing "`},
		{"another's open quote", "A=\"b\nID=7\n", "7", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Text(tt.text).Value("ID")
			if got != tt.want || (err != nil) != (tt.err != "") || err != nil && err.Error() != tt.err {
				t.Errorf("Value() = %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct{ name, before, value, after string }{
		{"there", "TYPE=\nID=\n", "7", "TYPE=\nID=7\n"},
		{"not there", "TYPE=c\n#ID=4\n", "7", "TYPE=c\n#ID=4\nID=7\n"},
		{"half a line", "TYPE=c", "7", "TYPE=c\nID=7\n"},
		{"nothing", "", "7", "ID=7\n"},
		{"exported", "ID=7\nexport ID=4\n", "9", "ID=9\nexport ID=9\n"},
		{"indented", "if true; then\n\tID=4\nfi\n", "9", "if true; then\n\tID=9\nfi\n"},
		{"CRLF", "ID=4\r\nTYPE=c\r\n", "9", "ID=9\r\nTYPE=c\r\n"},
		{"byte order mark", "\ufeffID=4\n", "9", "\ufeffID=9\n"},
		{"comment", "ID=\"4\" # mine\n", "9", "ID=9 # mine\n"},
		{"open quote", "ID=\"4 # mine\n", "9", "ID=9\n"},
		{"blanks", "ID=4\n", "p1 p3", "ID='p1 p3'\n"},
		{"none", "ID=4\n", "", "ID=\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Text(tt.before).Set("ID", tt.value); string(got) != tt.after {
				t.Errorf("%q became %q, want %q", tt.before, got, tt.after)
			}
		})
	}
}

// TestSetIsRead: whatever the file is, what is written is read, other keys keep
// their values, and writing it again changes nothing.
func TestSetIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(
			rapid.StringMatching(`[ \t]{0,2}(export[ \t]{1,2})?(ID|IDLE|TYPE)=["' #;a-z0-9]{0,8}\r?\n`),
			rapid.StringMatching("\ufeff?[^\n]{0,8}\n?"))
		text := Text(strings.Join(rapid.SliceOfN(line, 0, 6).Draw(t, "lines"), ""))
		value := rapid.OneOf(rapid.StringMatching(`[ -~]{0,8}`), rapid.StringMatching(`p[1-9]( p[1-9]){0,2}`)).Draw(t, "value")
		after := text.Set("ID", value)
		if got, err := after.Value("ID"); got != value || err != nil {
			t.Fatalf("%q became %q: read %q, %v; want %q", text, after, got, err, value)
		}
		if again := after.Set("ID", value); again != after {
			t.Fatalf("%q became %q", after, again)
		}
		for _, other := range []string{"IDLE", "TYPE"} {
			before, _ := text.Value(other)
			if got, _ := after.Value(other); got != before {
				t.Fatalf("%q became %q: %s was %q, is %q", text, after, other, before, got)
			}
		}
	})
}

func TestRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "clusterctrl")
	for size, want := range map[int]string{maxSize: "", maxSize + 1: name + ": want settings of at most 1048576 bytes"} {
		if err := os.WriteFile(name, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Read(name)
		if err == nil && want == "" && len(got) == size {
			continue
		}
		if err == nil || err.Error() != want {
			t.Errorf("%d bytes: read %d, %v; want %q", size, len(got), err, want)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, text := range []string{"ID='\"7", "export ID=4;ID=5", "ID=7\x00\n", "\ufeff\ufeffID=1", "ID=\xff'"} {
		f.Add(text, "7")
		f.Add(text, "\xb0'\xb3")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.ContainsAny(value, "\n\r") {
			return
		}
		if got, err := Text(text).Set("ID", value).Value("ID"); got != value || err != nil {
			t.Errorf("%q in %q was read as %q, %v", value, text, got, err)
		}
	})
}

// TestQuoteAsShell has a shell take the quotes out again.
func TestQuoteAsShell(t *testing.T) {
	for _, word := range []string{"a", "it's $HOME", `C:\a`, "~", "*", "a;b", `"'`, "p1 p3"} {
		got, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(got) != word {
			t.Errorf("Quote(%q) = %s, which sh reads as %q, %v", word, Quote(word), got, err)
		}
	}
}
