package edit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/tree/rootfs"
	"github.com/coreos/go-systemd/v22/unit"
)

// Where systemd keeps units: what the administrator says comes before what
// packages bring (systemd.unit(5)). /lib is where Buster has them.
const systemUnits = "etc/systemd/system"

var unitDirs = []string{systemUnits, "usr/lib/systemd/system", "lib/systemd/system"}

// EnableUnit makes systemd start a unit as its [Install] section says, as
// "systemctl enable" does.
type EnableUnit struct{ Unit string }

func (e EnableUnit) String() string { return "enable " + e.Unit }

func (e EnableUnit) Apply(tree rootfs.Tree) error {
	links, err := installation(tree, e.Unit)
	if err != nil {
		return err
	}
	if len(links) == 0 {
		return errors.New("the unit has no [Install] section that says where to start it")
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if leadsTo(tree, name, links[name]) {
			continue
		}
		if err := (Symlink{links[name], name}).Apply(tree); err != nil {
			return err
		}
	}
	return nil
}

// leadsTo reports whether a link leads to the file at target, by whatever path:
// where /lib is a link to /usr/lib, systemctl may have linked to a unit by either.
func leadsTo(tree rootfs.Tree, link, target string) bool {
	if _, err := tree.ReadLink(link); err != nil {
		return false
	}
	at, err := rootfs.Resolve(tree, link)
	want, wrong := rootfs.Resolve(tree, strings.TrimPrefix(target, "/"))
	return err == nil && wrong == nil && at == want
}

// DisableUnit takes back what EnableUnit, or systemctl, did. A unit that is not
// installed is disabled already.
type DisableUnit struct{ Unit string }

func (d DisableUnit) String() string { return "disable " + d.Unit }

func (d DisableUnit) Apply(tree rootfs.Tree) error {
	links, err := installation(tree, d.Unit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMasked) {
		return err
	}
	linked, err := linksTo(tree, d.Unit)
	if err != nil {
		return err
	}
	names := append(slices.Sorted(maps.Keys(links)), linked...)
	for _, name := range names {
		if err := (Remove{name}).Apply(tree); err != nil {
			return err
		}
	}
	return nil
}

// linksTo returns the names of the links by which other units start one.
func linksTo(tree rootfs.Tree, unit string) ([]string, error) {
	entries, err := fs.ReadDir(tree, systemUnits)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !slices.Contains([]string{".wants", ".requires", ".upholds"}, path.Ext(e.Name())) {
			continue
		}
		name := path.Join(systemUnits, e.Name(), unit)
		if _, err := tree.Lstat(name); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// MaskUnit makes systemd unable to start a unit, whatever depends on it.
type MaskUnit struct{ Unit string }

func (m MaskUnit) String() string { return "mask " + m.Unit }

func (m MaskUnit) Apply(tree rootfs.Tree) error {
	return Symlink{"/dev/null", path.Join(systemUnits, m.Unit)}.Apply(tree)
}

// UnmaskUnit takes back what MaskUnit did.
type UnmaskUnit struct{ Unit string }

func (u UnmaskUnit) String() string { return "unmask " + u.Unit }

func (u UnmaskUnit) Apply(tree rootfs.Tree) error {
	link := path.Join(systemUnits, u.Unit)
	if target, err := tree.ReadLink(link); err != nil || target != "/dev/null" {
		return nil // not there, or the user's own unit
	}
	return tree.Remove(link)
}

// installation returns what "systemctl enable" makes of the [Install] section of
// a unit, and of the [Install] sections of the units in its Also=: links by name, with
// their targets.
func installation(tree rootfs.Tree, unit string) (map[string]string, error) {
	i := installer{tree, map[string]string{}, map[string]bool{}}
	err := i.add(unit)
	return i.links, err
}

type installer struct {
	tree  rootfs.Tree
	links map[string]string
	seen  map[string]bool // units: they name each other in circles
}

// Options of [Install] that link into a directory beside the unit they name.
var installDirs = map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires", "UpheldBy": ".upholds"}

// add adds the links of a unit. An instance of a template, such as
// serial-getty@ttyGS0.service, is linked under its own name to the template's
// file; a template alone to its DefaultInstance=.
func (i installer) add(name string) error {
	i.seen[name] = true
	prefix, instance, isInstance := cutInstance(name)
	template := name
	if isInstance {
		template = prefix + "@" + path.Ext(name)
	}
	file, options, err := readUnit(i.tree, template)
	if err != nil {
		return err
	}
	install := map[string][]string{}
	for _, o := range options {
		if o.Section == "Install" {
			install[o.Name] = append(install[o.Name], strings.Fields(expand(o.Value, prefix, instance))...)
		}
	}
	if isInstance && instance == "" && len(install["DefaultInstance"]) > 0 {
		name = prefix + "@" + install["DefaultInstance"][0] + path.Ext(name)
	}
	for option, suffix := range installDirs {
		for _, target := range install[option] {
			i.links[path.Join(systemUnits, target+suffix, name)] = "/" + file
		}
	}
	for _, alias := range install["Alias"] {
		i.links[path.Join(systemUnits, alias)] = "/" + file
	}
	return i.addAlso(install["Also"])
}

// addAlso adds the units that an Also= names. As for systemctl, they may be
// missing: packages name units of other packages that need not be installed.
func (i installer) addAlso(units []string) error {
	for _, name := range units {
		if i.seen[name] {
			continue
		}
		if err := i.add(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// cutInstance splits the name of an instance, such as a@b.service, or of a
// template, such as a@.service.
func cutInstance(name string) (prefix, instance string, ok bool) {
	return strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "@")
}

// expand joins continued lines, which the parser leaves alone, and replaces the
// specifiers that packages use in [Install] sections (systemd.unit(5)).
func expand(value, prefix, instance string) string {
	return strings.NewReplacer("\\\n", " ", "%i", instance, "%I", instance, "%p", prefix, "%P", prefix, "%%", "%").Replace(value)
}

var errMasked = errors.New("the unit is masked: want no link to /dev/null")

// readUnit finds the file of a unit that is not masked.
func readUnit(tree rootfs.Tree, name string) (string, []*unit.UnitOption, error) {
	for _, dir := range unitDirs {
		file := path.Join(dir, name)
		if target, err := tree.ReadLink(file); err == nil && target == "/dev/null" {
			return "", nil, fmt.Errorf("%s: %w", file, errMasked)
		}
		text, err := rootfs.ReadText(tree, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		options, err := unit.DeserializeOptions(strings.NewReader(string(text)))
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w", file, err)
		}
		return file, options, nil
	}
	return "", nil, fmt.Errorf("unit %s: %w", name, fs.ErrNotExist)
}
