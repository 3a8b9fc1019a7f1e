package recipe

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Words of the kernel command line that start the vendor's first boot, and the
// one that we leave in their place until the branding puts them back. Having
// the mark there, and not in a file, lets one write of one sector both end the
// branding and start the vendor's part. The kernel takes a word with a dot for
// the parameter of a module and keeps it from PID 1. Its name may not hold
// "firstboot" or " resize", which initramfs scripts of the vendor look for anywhere
// in the line.
const (
	vendorFirstBoot = "usr/lib/raspberrypi-sys-mods/firstboot"
	vendorResize    = "usr/lib/raspi-config/init_resize.sh"
	firstBootMark   = "clusterctrl.vendor"

	// Trixie's initramfs grows the root where it finds this word, and takes it out.
	vendorResizeWord = "resize"
)

// SectorSize is the unit in which images of one build differ: cmdline.txt fits
// into one sector, whatever the role.
const SectorSize = mbr.SectorSize

// StartBranding makes the kernel start the branding at the next boot, instead of
// the vendor's first boot, which it notes for later. The line is as long as
// that of the role with the longest name, so that [Rebrand] can put any role
// in.
type StartBranding struct {
	BootDir string
	Role    node.Role
	Arch    rootfs.Arch
}

func (s StartBranding) String() string {
	return fmt.Sprintf("brand as %v at the next boot", s.Role)
}

func (s StartBranding) Apply(tree rootfs.Tree) error {
	name := path.Join(s.BootDir, rootfs.CommandLine)
	words, text, err := readCommandLine(tree, name)
	if err != nil {
		return err
	}
	words, _ = cutRole(words)
	for i, w := range words {
		if isVendorInit(w) {
			words[i] = firstBootMark
		}
	}
	line := roleLine(words, s.Role)
	if limit := min(s.Arch.MaxCommandLine(), SectorSize-1); len(line) > limit {
		return fmt.Errorf("%s: with our words it is %d bytes long: want at most %d; take out words that you do not need", name, len(line), limit)
	}
	return writeCommandLine(tree, name, text, line)
}

// roleLine puts the words that start the branding at the end of a command line,
// but before those that Raspberry Pi Imager adds, whose script deletes all
// that follows, and pads it with blanks to the length that it has for the role
// with the longest name.
func roleLine(words edit.CommandLine, role node.Role) string {
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "systemd.run") })
	if at < 0 {
		at = len(words)
	}
	line := slices.Insert(slices.Clone(words), at, role.ReconfigArg()).String()
	return line + strings.Repeat(" ", len(node.CBridge.String())-len(role.String()))
}

// Rebrand returns the text of a cmdline.txt that brands with another role, in
// as many bytes.
func Rebrand(text string, role node.Role) (string, error) {
	words, err := edit.ParseCommandLine(text)
	if err != nil {
		return "", err
	}
	rest, found := cutRole(words)
	if !found {
		return "", fmt.Errorf("no init=%s: want an image that was built by clusterctrl, not branded and not booted", node.ReconfigPath)
	}
	rebranded := roleLine(rest, role) + "\n"
	if len(rebranded) > len(text) {
		return "", fmt.Errorf("%d bytes have no room for role %v: want %d", len(text), role, len(rebranded))
	}
	return strings.TrimSuffix(rebranded, "\n") + strings.Repeat(" ", len(text)-len(rebranded)) + "\n", nil
}

// PendingRole returns the role that a command line brands with, if it does.
func PendingRole(words edit.CommandLine) (node.Role, bool) {
	at := slices.IndexFunc(words, node.IsReconfig)
	for _, w := range words[at+1:] {
		if role, err := node.ParseRole(w); err == nil && at >= 0 {
			return role, true
		}
	}
	return node.Role{}, false
}

// PendingVendor reports whether a command line starts the vendor's first boot, at
// the next boot or after the branding.
func PendingVendor(words edit.CommandLine) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return isVendorInit(w) || w == firstBootMark || w == vendorResizeWord
	})
}

func isVendorInit(word string) bool {
	return word == "init=/"+vendorFirstBoot || word == "init=/"+vendorResize
}

// cutRole takes all words that start the branding out of a command line, wherever
// they are, and the word behind each that was meant for a role. Words for the kernel
// may stand before the role: the kernel does not pass them to the program that it
// starts. Of several words for the vendor's first boot, the first stays.
func cutRole(words edit.CommandLine) (rest edit.CommandLine, found bool) {
	open, vendor := false, false // whether the role is to come, the vendor's word is there
	for i, w := range words {
		if node.IsReconfig(w) {
			found, open = true, true
			continue
		}
		_, err := node.ParseRole(w)
		wrong := i > 0 && node.IsReconfig(words[i-1]) && IsArgument(w)
		if open && (err == nil || wrong) {
			open = false
			continue
		}
		if isVendorInit(w) || w == firstBootMark {
			if vendor {
				continue
			}
			vendor = true
		}
		rest = append(rest, w)
	}
	return rest, found
}

// VendorBack returns the text of a cmdline.txt, however damaged, changed to start the
// vendor's first boot where that was to follow the branding. The text keeps its length
// where removed words have left blanks enough.
func VendorBack(tree rootfs.Tree, bootDir, text string) string {
	vendor := vendorInit(tree, bootDir)
	words := strings.SplitAfter(text, " ")
	for i, w := range words {
		if strings.TrimSpace(w) == firstBootMark {
			words[i] = strings.Replace(w, firstBootMark, vendor, 1)
			break
		}
	}
	back := strings.Join(words, "")
	if more := len(back) - len(text); more > 0 {
		back = strings.Replace(back, strings.Repeat(" ", more+1), " ", 1)
	}
	return back
}

// finishBranding makes the next boot an ordinary one: see [FinishedLine].
type finishBranding struct{ bootDir string }

func (f finishBranding) String() string { return "boot as usual from now on" }

func (f finishBranding) Apply(tree rootfs.Tree) error {
	name := path.Join(f.bootDir, rootfs.CommandLine)
	text, err := rootfs.ReadText(tree, name)
	if err != nil {
		return err
	}
	line, err := FinishedLine(tree, f.bootDir, string(text))
	if err != nil || line == string(text) {
		return err
	}
	return tree.WriteFile(name, []byte(line), 0o755)
}

// FinishedLine returns what text, that of a cmdline.txt, becomes at the end of the
// branding of a tree. It takes out the words that start the branding, and a console on
// the gadget's serial port, which would be there too late; the first time, it puts the
// vendor's first boot back. All else stays as it is now, and not as it was when the image
// was built: the vendor's first boot may have changed the disk's id since.
func FinishedLine(tree rootfs.Tree, bootDir, text string) (string, error) {
	words, err := edit.ParseCommandLine(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path.Join(bootDir, rootfs.CommandLine), err)
	}
	rest, _ := cutRole(words)
	var kept edit.CommandLine
	for _, w := range rest {
		switch {
		case w == "console=ttyGS0" || strings.HasPrefix(w, "console=ttyGS0,"):
		case w == firstBootMark:
			if vendor := vendorInit(tree, bootDir); vendor != "" {
				kept = append(kept, vendor)
			}
		default:
			kept = append(kept, w)
		}
	}
	if slices.Equal(kept, words) {
		return text, nil // blanks that first boot left at the end may stay
	}
	return kept.String() + "\n", nil
}

// keepCommandLine copies a command line that starts the branding to [Backup].
type keepCommandLine struct{ bootDir string }

func (k keepCommandLine) String() string { return "keep the command line as " + Backup }

func (k keepCommandLine) Apply(tree rootfs.Tree) error {
	text, err := rootfs.ReadText(tree, path.Join(k.bootDir, rootfs.CommandLine))
	if err != nil || !StartsBranding(string(text)) {
		return err
	}
	return edit.WriteFile{Name: path.Join(k.bootDir, Backup), Data: string(text)}.Apply(tree)
}

// vendorInit returns the word that starts the vendor's first boot, if the
// system has one.
func vendorInit(tree rootfs.Tree, bootDir string) string {
	there := func(name string) bool {
		_, err := fs.Stat(tree, name)
		return err == nil
	}
	switch {
	case there(vendorFirstBoot):
		return "init=/" + vendorFirstBoot
	case there(path.Join(bootDir, "noresize")), there(path.Join(bootDir, "noresize.txt")):
		return ""
	case there(vendorResize):
		return "init=/" + vendorResize
	}
	return ""
}

func readCommandLine(tree rootfs.Tree, name string) (edit.CommandLine, string, error) {
	text, err := rootfs.ReadText(tree, name)
	if err != nil {
		return nil, "", err
	}
	words, err := edit.ParseCommandLine(string(text))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return words, string(text), nil
}

func writeCommandLine(tree rootfs.Tree, name, old, line string) error {
	if old == line+"\n" {
		return nil
	}
	return tree.WriteFile(name, []byte(line+"\n"), 0o755)
}
