package recipe

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// place returns the edits that say where in the world a Pi is: its time zone, its
// language, its keyboard.
func (s System) place() []edit.Edit {
	var edits []edit.Edit
	if s.TimeZone != "" {
		edits = append(edits, timeZone{s.TimeZone})
	}
	if s.Locale != "" {
		edits = append(edits, locale{s.Locale})
	}
	if s.Keyboard != "" {
		edits = append(edits,
			edit.Setting{Name: "etc/default/keyboard", Key: "XKBLAYOUT", Value: s.Keyboard},
			edit.RemoveMatching{Pattern: "etc/console-setup/cached_*"}, // made of the old layout: setupcon(1)
		)
	}
	return edits
}

// timeZone sets the time zone, which must be in the tree (localtime(5)).
type timeZone struct{ name string }

func (z timeZone) String() string { return "set the time zone " + z.name }

func (z timeZone) Apply(tree rootfs.Tree) error {
	file := path.Join("usr/share/zoneinfo", z.name)
	if info, err := tree.Stat(file); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("no /%s in the image: want a name such as Europe/Berlin", file)
	}
	if err := (edit.Symlink{Target: "/" + file, Name: "etc/localtime"}).Apply(tree); err != nil {
		return err
	}
	const debian = "etc/timezone" // up to Bookworm
	if _, err := tree.Stat(debian); err != nil {
		return nil
	}
	return edit.WriteFile{Name: debian, Data: z.name + "\n"}.Apply(tree)
}

// locale sets the language. It must be in the tree, since making it takes a program of
// the image.
type locale struct{ name string }

func (l locale) String() string { return "set the locale " + l.name }

func (l locale) Apply(tree rootfs.Tree) error {
	if !l.made(tree) {
		return fmt.Errorf("%s was not made in the image: want a locale that was, such as C.UTF-8, or run \"sudo raspi-config\" on each Pi", l.name)
	}
	return edit.Setting{Name: "etc/default/locale", Key: "LANG", Value: l.name}.Apply(tree)
}

// made looks for the locale in its own directory and in the archive of many, which has
// their names as C's strings, with the encoding as in de_DE.utf8 (localedef(1)).
func (l locale) made(tree rootfs.Tree) bool {
	const dir = "usr/lib/locale"
	name := strings.Replace(l.name, ".UTF-8", ".utf8", 1)
	if l.name == "C.UTF-8" || exists(tree, path.Join(dir, name)) {
		return true
	}
	archive, err := rootfs.ReadText(tree, path.Join(dir, "locale-archive"))
	return err == nil && bytes.Contains(archive, []byte(name+"\x00"))
}
