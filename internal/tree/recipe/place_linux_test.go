package recipe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// TestPlace has localedef make the locales that are looked for, and systemd-firstboot set
// a time zone beside ours.
func TestPlace(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/share/zoneinfo/Europe/Berlin":           "TZif",
		"etc/timezone":                               "Etc/UTC\n",
		"etc/default/keyboard":                       "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"gb\"\nXKBVARIANT=\"\"\n",
		"etc/default/locale":                         "LANG=en_GB.UTF-8\n",
		"etc/console-setup/cached_setup_keyboard.sh": "",
		"usr/lib/locale/x":                           "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("localedef", "--prefix", root, "-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8").CombinedOutput(); err != nil {
		t.Fatalf("localedef: %v\n%s", err, out)
	}
	tree, err := rootfs.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	s := System{Settings: Settings{TimeZone: "Europe/Berlin", Locale: "de_DE.UTF-8", Keyboard: "de"}}
	for range 2 { // twice is once
		if err := edit.Apply(tree, s.place()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"etc/timezone": "Europe/Berlin\n", "etc/default/locale": "LANG=de_DE.UTF-8\n"} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	out, err := exec.Command("sh", "-c", ". "+root+"/etc/default/keyboard; echo $XKBMODEL $XKBLAYOUT").Output()
	if string(out) != "pc105 de\n" || err != nil {
		t.Errorf("keyboard: %q, %v", out, err)
	}
	if caches, _ := filepath.Glob(filepath.Join(root, "etc/console-setup/cached_*")); len(caches) > 0 {
		t.Errorf("still there: %v", caches)
	}
	ours, err := os.Readlink(filepath.Join(root, "etc/localtime"))
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(root, "etc/localtime"))
	if out, err := exec.Command("systemd-firstboot", "--root", root, "--timezone", "Europe/Berlin").CombinedOutput(); err != nil {
		t.Fatalf("systemd-firstboot: %v\n%s", err, out)
	}
	theirs, err := os.Readlink(filepath.Join(root, "etc/localtime"))
	if filepath.Join("/etc", theirs) != ours && theirs != ours {
		t.Errorf("localtime leads to %s, systemd's to %s, %v", ours, theirs, err)
	}
	for _, bad := range []Settings{{TimeZone: "Europe/Berlyn"}, {TimeZone: "Europe"}, {Locale: "fr_FR.UTF-8"}} {
		if err := edit.Apply(tree, System{Settings: bad}.place()); err == nil || !strings.Contains(err.Error(), "in the image") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
