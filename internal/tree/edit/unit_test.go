package edit

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// units are packages' unit files with every kind of [Install] that our own and
// Debian's have.
var units = map[string]string{
	"usr/lib/systemd/system/plain.service":   "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
	"usr/lib/systemd/system/many.service":    "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target graphical.target\nRequiredBy=basic.target\nAlias=other.service\n",
	"usr/lib/systemd/system/also.service":    "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlso=also.socket plain.service\n",
	"usr/lib/systemd/system/also.socket":     "[Socket]\nListenStream=1\n[Install]\nWantedBy=sockets.target\nAlso=also.service\n",
	"usr/lib/systemd/system/getty@.service":  "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
	"usr/lib/systemd/system/by@.service":     "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=dev-%i.device\n",
	"etc/systemd/system/own.service":         "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
	"usr/lib/systemd/system/target.target":   "[Unit]\n",
	"usr/lib/systemd/system/static.service":  "[Service]\nExecStart=/bin/true\n",
	"usr/lib/systemd/system/masked.service":  "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
	"usr/lib/systemd/system/upheld.service":  "[Service]\nExecStart=/bin/true\n[Install]\nRequiredBy=multi-user.target\n",
	"usr/lib/systemd/system/spaced.service":  "[Install]\nWantedBy = multi-user.target  \\\n  graphical.target\n# WantedBy=no.target\n[Service]\nExecStart=/bin/true\n",
	"usr/lib/systemd/system/default.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nWantedBy=graphical.target\n",
}

// TestEnableAsSystemctl has systemctl enable, then disable, the same units in
// a tree of its own.
func TestEnableAsSystemctl(t *testing.T) {
	for _, name := range []string{"plain.service", "many.service", "also.service", "also.socket", "getty@ttyGS0.service",
		"getty@.service", "by@usb0.service", "own.service", "upheld.service", "spaced.service", "default.service"} {
		t.Run(name, func(t *testing.T) {
			dir, theirs := t.TempDir(), t.TempDir()
			fill(t, dir, units)
			fill(t, theirs, units)
			ours := openTree(t, dir)
			for _, step := range []struct {
				verb string
				edit Edit
			}{{"enable", EnableUnit{name}}, {"disable", DisableUnit{name}}} {
				for range 2 {
					if err := Apply(ours, []Edit{step.edit}); err != nil {
						t.Fatal(err)
					}
				}
				if out, err := exec.Command("systemctl", "--root="+theirs, step.verb, name).CombinedOutput(); err != nil {
					t.Fatalf("systemctl (package systemd): %v\n%s", err, out)
				}
				got, want := links(t, dir), links(t, theirs)
				if got != want {
					t.Errorf("%s\n%swant, as systemctl does,\n%s", step.verb, got, want)
				}
				if step.verb == "enable" && got == "" {
					t.Error("nothing was linked")
				}
			}
		})
	}
}

// TestEnableKeepsLinks enables a unit that is enabled by a link of another's, in a
// tree whose /lib is a link to /usr/lib. It is left alone if it leads to the unit.
func TestEnableKeepsLinks(t *testing.T) {
	const link, ours = "etc/systemd/system/multi-user.target.wants/plain.service", "/usr/lib/systemd/system/plain.service"
	for _, tt := range []struct {
		target string
		kept   bool
	}{
		{ours, true},
		{"/lib/systemd/system/plain.service", true},
		{"../../../../lib/systemd/system/plain.service", true},
		{"../../../../usr/lib/systemd/system/plain.service", true},
		{"/lib/systemd/system/static.service", false},
		{"/lib/systemd/system/gone.service", false},
		{"plain.service", false}, // to itself
	} {
		t.Run(tt.target, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, units)
			err := errors.Join(os.Symlink("usr/lib", filepath.Join(dir, "lib")),
				os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755), os.Symlink(tt.target, filepath.Join(dir, link)))
			if err != nil {
				t.Fatal(err)
			}
			tree := openTree(t, dir)
			plan, err := NewPlan(tree, []Edit{EnableUnit{"plain.service"}})
			if err != nil {
				t.Fatal(err)
			}
			if kept := len(plan) == 0; kept != tt.kept {
				t.Errorf("kept: %t, want %t", kept, tt.kept)
			}
			if err := plan.Apply(tree); err != nil {
				t.Fatal(err)
			}
			want := ours
			if tt.kept {
				want = tt.target
			}
			if got, err := tree.ReadLink(link); got != want {
				t.Errorf("the link leads to %q, %v; want %q", got, err, want)
			}
			if out, err := exec.Command("systemctl", "--root="+dir, "is-enabled", "plain.service").CombinedOutput(); string(out) != "enabled\n" {
				t.Errorf("systemctl (package systemd): %v\n%swant it enabled", err, out)
			}
		})
	}
}

// links lists the links in a tree with what they lead to.
func links(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSymlink {
			target, _ := os.Readlink(path)
			name, _ := filepath.Rel(dir, path)
			b.WriteString(name + " -> " + target + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEnableRefuses(t *testing.T) {
	tree := treeWith(t, units)
	if err := Apply(tree, []Edit{MaskUnit{"masked.service"}, DisableUnit{"masked.service"}, DisableUnit{"missing.service"}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ unit, want string }{
		{"missing.service", "enable missing.service: unit missing.service: file does not exist"},
		{"static.service", "no [Install] section"},
		{"masked.service", "masked"},
	} {
		if err := Apply(tree, []Edit{EnableUnit{tt.unit}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.unit, err, tt.want)
		}
	}
}
