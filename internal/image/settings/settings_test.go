package settings

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/tree/rootfs"
	"pgregory.net/rapid"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTOML(t *testing.T) {
	s, warnings, err := Load(write(t, FileName, `
lite = 10
revision = 3
nat = false
user = "anna"
password = "it's $5: \"x\""
ssh = true
authorized-keys = ["ssh-ed25519 AAAA anna"]
grow = "500M"
gadget = "ncm"
wifi-country = "DE"
`))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if s.Nodes(rootfs.Lite) != 10 || s.Nodes(rootfs.Standard) != 4 || s.Revision != 3 || s.NAT || !s.SSH ||
		s.User != "anna" || s.Password != `it's $5: "x"` || s.GrowOf(rootfs.Full) != 500<<20 || s.Gadget != "ncm" {
		t.Errorf("got %+v", s)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"unknown", FileName, "lite = 1\n\nnodez = 2\n", `line 3: unknown setting "nodez": want one of `},
		{"unknown table", FileName, "lite = 1\n[user]\nname = 1\n", "line 2"},
		{"wrong type", FileName, "ssh = true\nlite = \"four\"\n", "line 2: lite: got text in quotes, want a whole number"},
		{"no list", FileName, "authorized-keys = \"x\"\n", "line 1: authorized-keys: got text in quotes, want a list in brackets"},
		{"size of nothing", FileName, "\ngrow = 500\n", `line 2: size "500": want 1M at least, such as 500M`},
		{"too many", FileName, "ssh = true\nlite = 253\n", "line 2: 253 nodes: want 0 to 252"},
		{"negative", FileName, "full = -1\n", "line 1: -1 nodes: want 0 to 252"},
		{"no TOML", FileName, "ssh = true\nlite 4\n", "line 2: "},
		{"bad size", FileName, "\ngrow = \"much\"\n", "line 2"},
		{"user alone", FileName, "nat = true\nuser = \"anna\"\n", `line 2: user "anna" could not log in`},
		{"both", FileName, "password = \"a\"\npassword-hash = \"$6$a$b\"\n", "line 1: password and password-hash"},
		{"no hash", FileName, "password-hash = \"secret\"\n", "line 1: password-hash: want a hash"},
		{"gadget", FileName, "gadget = \"eem\"\n", `line 1: gadget "eem": want rndis, ncm, ecm`},
		{"network", FileName, "network = \"x\"\n", `line 1: network "x": want dhcpcd, ifupdown, networkmanager`},
		{"user's name", FileName, "ssh = true\nuser = \"Anna\"\npassword = \"x\"\n", `line 2: user "Anna": want a lower-case letter`},
		{"root", FileName, "password = \"x\"\nuser = \"root\"\n", `line 2: user "root" exists already`},
		{"country", FileName, "\nwifi-country = \"Germany\"\n", `line 2: Wi-Fi country "Germany": want two capital letters`},
		{"key", FileName, "\n\nauthorized-keys = [\"x\"]\n", `line 3: authorized key 1: want a line such as`},
		{"two keys in one", FileName, "authorized-keys = [\"ssh-rsa AAAA x\\nssh-rsa AAAA y\"]\n", "line 1: authorized key 1: want a line such as"},
		{"shell number", ShellFileName, "#\nMAXPLITE=many\n", `line 2: MAXPLITE: "many": want a number`},
		{"shell range", ShellFileName, "\nMAXPSTD=300\n", "line 2: MAXPSTD: 300 nodes: want 0 to 252"},
		{"shell switch", ShellFileName, "ENABLESSH=yes\n", `line 1: ENABLESSH: "yes": want 0 or 1`},
		{"shell command", ShellFileName, "echo hello\n", `line 1: "echo hello": want NAME=value`},
		{"shell expansion", ShellFileName, "PASSWORD=\"a$b\"\n", "line 1: PASSWORD: want a plain value"},
		{"shell quote", ShellFileName, "PASSWORD='a\n", "line 1: PASSWORD: no closing '"},
		{"shell blanks", ShellFileName, "PASSWORD=a b\n", `line 1: PASSWORD: "b" after the value`},
		{"shell user", ShellFileName, "\nUSERNAME=Anna\nPASSWORD=x\n", `line 2: USERNAME: user "Anna": want`},
		{"shell append", ShellFileName, "REV+=1\n", "line 1: REV+=: want REV=value"},
		{"shell condition", ShellFileName, "if true; then\nMAXPLITE=8\nfi\n", `line 2: MAXPLITE=: want it outside of "if"`},
		{"shell condition in a line", ShellFileName, "[ -f x ] && MAXPLITE=8\n", `line 1: "[ -f x ] && MAXPLITE=8": want MAXPLITE=value alone`},
		{"shell after many lines", ShellFileName, "A=\"a\nb\"\nB=(a\n# don't\nb)\nC=1 # don't\nREV=x\n", `line 7: REV: "x": want a number`},
		{"shell blanks around", ShellFileName, "MAXPLITE = 8\n", `line 1: "MAXPLITE = 8": want NAME=value`},
		{"shell quote of others", ShellFileName, "NOTE=don't\nREV=x\n", "line 1: NOTE: its quotes or brackets are not closed"},
		{"shell chain", ShellFileName, "REV=1;reboot\n", "line 1: REV: ';'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file, tt.text)
			_, _, err := Load(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s: ... %s", err, path, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestLoadShell(t *testing.T) {
	s, warnings, err := Load(write(t, ShellFileName, "\ufeff"+`# mine
MAXPLITE=8  # eight
export MAXPSTD="2"
USERNAME='anna'
PASSWORD='a $b "c" \d'
ENABLESSH=1
MAKECNAT=0
REV=2
GROWLITE=500
GROWSTD="1G"
SOURCE=/home/anna/images
PACKAGES+=" vim"
`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Lite != 8 || s.Standard != 2 || s.Full != 0 || s.User != "anna" || s.Password != `a $b "c" \d` || !s.SSH || s.NAT || s.Revision != 2 {
		t.Errorf("got %+v", s)
	}
	if s.GrowOf(rootfs.Lite) != 500<<20 || s.GrowOf(rootfs.Standard) != 1<<30 || s.GrowOf(rootfs.Full) != 0 {
		t.Errorf("got growth %v", s.GrowBy)
	}
	if len(warnings) != 2 || !strings.HasSuffix(warnings[0], "line 11: SOURCE does nothing here") || !strings.HasSuffix(warnings[1], "line 12: PACKAGES does nothing here") {
		t.Errorf("got warnings %q", warnings)
	}
}

// TestLoadShellDefaults: a variable that a shell file does not set has the value that it
// has in the scripts.
func TestLoadShellDefaults(t *testing.T) {
	s, _, err := Load(write(t, ShellFileName, "ENABLESSH=1\n"))
	if err != nil || s.Lite != 4 || s.Standard != 0 || s.Full != 0 {
		t.Errorf("got %d, %d and %d nodes, %v; want 4, 0 and 0", s.Lite, s.Standard, s.Full, err)
	}
}

// TestLoadWholeConfig reads files that end as the scripts' configurations do: by reading
// another file.
func TestLoadWholeConfig(t *testing.T) {
	for _, end := range []string{
		"[ -f config-local.sh ] && . ./config-local.sh\n",
		"if [ -f \"config-local.sh\" ]; then\n\tsource ./config-local.sh\nfi\n",
		"if test -r config-local.sh\nthen\n . config-local.sh\nfi\n",
		"if [ -f config-local.sh ]; then . config-local.sh; fi\n",
	} {
		s, warnings, err := Load(write(t, ShellFileName, "MAXPLITE=4\nDEST=\"$(pwd)/dest\"\nLIST=\"a \\\n b\"\nFILES=(\"a\"\n b)\nMAXPSTD=3\n"+end+"SERIALAUTOLOGIN=1\n"))
		if err != nil || s.Standard != 3 || !s.SerialAutologin {
			t.Errorf("%q: %+v, %v", end, s, err)
			continue
		}
		all := strings.Join(warnings, "\n")
		for _, want := range []string{"DEST does nothing here", "what that file sets, set in this one", "SERIALAUTOLOGIN is for the console on USB here, not for the one on the UART"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q: warnings %q, want %q", end, warnings, want)
			}
		}
	}
}

// FuzzParseShell: each file is refused in one line, or taken.
func FuzzParseShell(f *testing.F) {
	for _, seed := range []string{"", "REV=1", "A=\"a\n", "A=(\n#'\n)\nREV=2", "if x; fi; fi\nREV=1", "A=\\", "[", "\ufeff;", "export ;;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, warnings, err := parseShell(text)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
		if len(warnings) > 1+strings.Count(text, "\n") {
			t.Errorf("%q: %d warnings", text, len(warnings))
		}
	})
}

// TestPlainValueAsShell asks a real shell.
func TestPlainValueAsShell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOf(rapid.SampledFrom([]rune(`ab '"# 1:=!*~`))).Draw(t, "value")
		got, err := plainValue(value)
		if err != nil || strings.ContainsAny(value, "~*") {
			return
		}
		want, err := exec.Command("sh", "-c", "X="+value+"\nprintf %s \"$X\"").Output()
		if err != nil || got != string(want) {
			t.Fatalf("plainValue(%q) = %q; sh says %q, %v", value, got, want, err)
		}
	})
}

// TestHash asks openssl, which every Debian has, for the hash with our salt.
func TestHash(t *testing.T) {
	for _, password := range []string{"raspberry", "it's $5: \"x\"", "pä ßword", strings.Repeat("long", 30)} {
		s := Settings{User: "anna", Password: password}
		hash := s.Hash()
		if hash != s.Hash() {
			t.Error("two hashes of one password differ")
		}
		if other := (Settings{User: "bert", Password: password}); other.Hash() == hash {
			t.Error("two users share a salt")
		}
		salt := strings.Split(hash, "$")[2]
		cmd := exec.Command("openssl", "passwd", "-6", "-salt", salt, "-stdin")
		cmd.Stdin = strings.NewReader(password)
		want, err := cmd.Output()
		if err != nil || strings.TrimSpace(string(want)) != hash {
			t.Errorf("hash of %q: got %s, openssl says %s%v", password, hash, want, err)
		}
		if err := (Settings{PasswordHash: hash}).checkHash(); err != nil {
			t.Error(err)
		}
	}
}
