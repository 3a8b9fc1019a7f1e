package recipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// MadeByShell reports whether a tree comes from an image that the older shell scripts,
// which this program replaces, made. In such a tree, the files with the names of our
// programs are scripts.
func MadeByShell(tree rootfs.Tree) (bool, error) {
	f, err := tree.Open(inTree(node.ReconfigPath))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 2)
	n, err := io.ReadFull(f, head)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return string(head[:n]) == "#!", err
}

// refuseShell keeps a tree from becoming a mixture of the scripts' work and ours.
type refuseShell struct{}

func (refuseShell) String() string { return "look who made the system" }

func (refuseShell) Apply(tree rootfs.Tree) error {
	made, err := MadeByShell(tree)
	if made {
		err = fmt.Errorf("%s is a shell script: want what \"clusterctrl build\" made, which takes an image of the scripts for its base", node.ReconfigPath)
	}
	return err
}

// fromShell takes out of a tree all that the shell scripts put there, so that a stock
// system is left, with the settings that its owner made. In other trees it does nothing.
// It leaves files that our own edits replace under the same name.
type fromShell struct{ System }

func (fromShell) String() string { return "take out what the shell scripts made" }

func (f fromShell) Apply(tree rootfs.Tree) error {
	made, err := MadeByShell(tree)
	if err != nil || !made {
		return err
	}
	if err := f.keepVendor(tree); err != nil {
		return err
	}
	edits := []edit.Edit{
		edit.Remove{Name: inTree(node.Program)}, // what are links among them is not to be followed
		edit.Remove{Name: inTree(node.ReconfigPath)},
		edit.Remove{Name: fragment},
		edit.RemoveMatching{Pattern: "etc/systemd/system/clusterctrl-*.service"},
		edit.Block{Name: dhclientConf},
		edit.Block{Name: dhcpcdConf},
		edit.Block{Name: "etc/exports"},
		edit.Block{Name: path.Join(f.BootDir, "config.txt")},
		filter{"etc/sysctl.conf", isForwarding},
		filter{"etc/exports", isExport},
		filter{"etc/hosts.allow", isAllowed},
		filter{"etc/hosts.deny", isDenied},
		shellBoot{f.BootDir},
		filter{dhcpcdConf, isGlobal},
		fallbackProfiles{},
	}
	if _, err := tree.Stat(inTree(node.SettingsFile)); err == nil && f.Gadget != "" {
		edits = append(edits, edit.Setting{Name: inTree(node.SettingsFile), Key: "GADGET", Value: string(f.Gadget)})
	}
	for _, e := range edits {
		if err := e.Apply(tree); err != nil {
			return fmt.Errorf("%v: %w", e, err)
		}
	}
	return removeBelow(tree, inTree(node.ShareDir))
}

// keepVendor has the branding start the vendor's first boot where the scripts would
// have started it: at the first boot of an image, which has no settings file yet.
func (f fromShell) keepVendor(tree rootfs.Tree) error {
	name := path.Join(f.BootDir, rootfs.CommandLine)
	words, text, err := readCommandLine(tree, name)
	if err != nil {
		return err
	}
	_, err = tree.Stat(inTree(node.SettingsFile))
	_, pending := PendingRole(words)
	if !pending || !errors.Is(err, fs.ErrNotExist) || PendingVendor(words) {
		return nil
	}
	at := slices.IndexFunc(words, node.IsReconfig)
	return writeCommandLine(tree, name, text, slices.Insert(words, at, firstBootMark).String())
}

// filter takes lines out of a file, if it is there.
type filter struct {
	name  string
	drops func(line string) bool
}

func (f filter) String() string { return "take lines out of " + f.name }

func (f filter) Apply(tree rootfs.Tree) error {
	old, err := rootfs.ReadText(tree, f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Collect(strings.Lines(string(old))), func(line string) bool { return f.drops(strings.TrimSpace(line)) })
	text := strings.Join(kept, "")
	if text == string(old) {
		return nil
	}
	return edit.WriteFile{Name: f.name, Data: text}.Apply(tree)
}

// The lines of the scripts in files of others, as [regexp] reads them.
var (
	isForwarding = regexp.MustCompile(`^#?\s*net\.ipv4\.ip_forward\s*=\s*1\s+# ClusterCTRL$`).MatchString
	isExport     = regexp.MustCompile(`^` + regexp.QuoteMeta(node.NFSRoots) + `/p\d+\s+172\.19\.180\.\d+\([a-z_,]*\)$`).MatchString
	isAllowed    = regexp.MustCompile(`^(mountd|rpcbind)\s*:\s*172\.19\.180\.`).MatchString
	isDenied     = regexp.MustCompile(`^(mountd|rpcbind)\s*:\s*ALL$`).MatchString
	isBootLine   = regexp.MustCompile(`^\[[^]]*\](dtoverlay=i2c-gpio,bus=1,i2c_gpio_sda=2,i2c_gpio_scl=3|#?otg_mode=1 # Controller only)$|` +
		`^\[all\](enable_uart=1|dtoverlay=dwc2,dr_mode=(host|peripheral))$|^\[cm4\]otg_mode=0$|^\[pi5\]dtparam=i2c_arm=on$`).MatchString // behind its section
	isGlobal = regexp.MustCompile(`^(reboot 15|denyinterfaces( \S+)* ethpi\*( \S+)*)$`).MatchString
)

// shellBoot takes the scripts' lines out of config.txt, and sections that are empty then.
type shellBoot struct{ bootDir string }

func (shellBoot) String() string { return "take lines out of config.txt" }

func (b shellBoot) Apply(tree rootfs.Tree) error {
	name := path.Join(b.bootDir, "config.txt")
	old, err := rootfs.ReadText(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	section, head, dropped := "[all]", "", false // head is a section's first line, until others follow
	var kept strings.Builder
	for line := range strings.Lines(string(old)) {
		switch word := strings.TrimSpace(line); {
		case strings.HasPrefix(word, "["):
			if !dropped {
				kept.WriteString(head)
			}
			section, head, dropped = word, line, false
		case isBootLine(section + word):
			dropped = true
		default:
			kept.WriteString(head + line)
			head = ""
		}
	}
	if !dropped {
		kept.WriteString(head)
	}
	if kept.String() == string(old) {
		return nil
	}
	return edit.WriteFile{Name: name, Data: kept.String()}.Apply(tree)
}

// fallbackProfiles takes the scripts' profiles out of dhcpcd.conf(5), and the lines by
// which links fall back to them.
type fallbackProfiles struct{}

const fallbackPrefix = "clusterctrl_fallback_"

func (fallbackProfiles) String() string { return "take profiles out of " + dhcpcdConf }

func (fallbackProfiles) Apply(tree rootfs.Tree) error {
	old, err := rootfs.ReadText(tree, dhcpcdConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept strings.Builder
	for _, section := range sections(string(old)) {
		kept.WriteString(withoutFallback(section))
	}
	if kept.String() == string(old) {
		return nil
	}
	return edit.WriteFile{Name: dhcpcdConf, Data: kept.String()}.Apply(tree)
}

// sections splits dhcpcd.conf before each line that begins a section.
func sections(text string) [][]string {
	sections := [][]string{nil}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && slices.Contains([]string{"interface", "profile", "ssid"}, words[0]) {
			sections = append(sections, nil)
		}
		last := len(sections) - 1
		sections[last] = append(sections[last], line)
	}
	return sections
}

// withoutFallback is what stays of a section. Comments do: they may be about the next.
func withoutFallback(section []string) string {
	var kept []string
	ours := len(section) > 0 && strings.HasPrefix(strings.TrimSpace(section[0]), "profile "+fallbackPrefix)
	found, settings := ours, 0
	for _, line := range section {
		words := strings.Fields(line)
		note := len(words) == 0 || strings.HasPrefix(words[0], "#")
		falls := len(words) == 2 && words[0] == "fallback" && strings.HasPrefix(words[1], fallbackPrefix)
		found = found || falls
		if ours && !note || falls {
			continue
		}
		if !note {
			settings++
		}
		kept = append(kept, line)
	}
	if found && !ours && settings == 1 { // its first line, which has nothing to say any more
		kept = slices.DeleteFunc(kept, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "interface ") })
	}
	return strings.Join(kept, "")
}

// removeBelow removes all that is in a directory, if that is there.
func removeBelow(tree rootfs.Tree, dir string) error {
	var names []string
	err := fs.WalkDir(tree, dir, func(name string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == dir {
			return fs.SkipAll
		}
		names = append(names, name)
		return err
	})
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range slices.Backward(names[1:]) {
		if err := tree.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
