package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A card is the Tree of a Pi whose root is mounted and whose boot partition is
// not. Links that lead from the root into the boot partition are followed only
// through an [rootfs.Overlay], as a plan is made.
type card struct {
	root
	boot    *partition
	bootDir string // where the system will mount the boot partition
}

// A root is where the system lives. See [rootfs.Dir.Batch].
type root interface {
	rootfs.Tree
	Batch(change, flush func() error) error
}

// inBoot returns the name that the boot partition has for what the tree calls
// name.
func (c *card) inBoot(name string) (string, bool) {
	if name == c.bootDir {
		return ".", true
	}
	return strings.CutPrefix(name, c.bootDir+"/")
}

func (c *card) Open(name string) (fs.File, error) {
	if rest, ok := c.inBoot(name); ok {
		fsys, err := c.boot.files()
		if err != nil {
			return nil, err
		}
		return fsys.Open(rest)
	}
	return c.root.Open(name)
}

func (c *card) Lstat(name string) (fs.FileInfo, error) {
	if rest, ok := c.inBoot(name); ok {
		fsys, err := c.boot.files()
		if err != nil {
			return nil, err
		}
		return fsys.Lstat(rest)
	}
	return c.root.Lstat(name)
}

func (c *card) Stat(name string) (fs.FileInfo, error) {
	if _, ok := c.inBoot(name); ok {
		return c.Lstat(name)
	}
	return c.root.Stat(name)
}

func (c *card) ReadLink(name string) (string, error) {
	if _, ok := c.inBoot(name); ok {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return c.root.ReadLink(name)
}

func (c *card) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if rest, ok := c.inBoot(name); ok {
		return c.boot.writeFile(rest, data)
	}
	return c.root.WriteFile(name, data, perm)
}

func (c *card) Remove(name string) error {
	if rest, ok := c.inBoot(name); ok {
		return c.boot.remove(rest)
	}
	return c.root.Remove(name)
}

func (c *card) Mkdir(name string, perm fs.FileMode) error {
	if _, ok := c.inBoot(name); ok {
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.ErrUnsupported}
	}
	return c.root.Mkdir(name, perm)
}

func (c *card) Symlink(target, name string) error {
	if _, ok := c.inBoot(name); ok {
		return &fs.PathError{Op: "symlink", Path: name, Err: errors.ErrUnsupported}
	}
	return c.root.Symlink(target, name)
}

func (c *card) Chmod(name string, perm fs.FileMode) error {
	if _, ok := c.inBoot(name); ok {
		return nil
	}
	return c.root.Chmod(name, perm)
}

// Attempts are counted in a file of the root, which has a journal, so that what
// crashes the kernel does not do so for ever. Cuts of the power count too.
const (
	attemptsFile = "var/lib/clusterctrl/reconfig-attempts"
	maxAttempts  = 10
)

// count notes that an attempt begins. That is on the card with the next flush: of a
// file that was cut short, no attempt is read.
func (c *card) count() error {
	text, err := rootfs.ReadText(c, attemptsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // what is no number is none
	if n >= maxAttempts {
		return fmt.Errorf("begun %d times and never finished: want at most %d", n, maxAttempts)
	}
	write := edit.WriteFile{Name: attemptsFile, Data: strconv.Itoa(n+1) + "\n"}
	return c.Batch(func() error { return write.Apply(c) }, func() error { return nil })
}

// prepare does all that makes the Pi the member with the role but for the last
// change, which [card.commit] makes once all else is safely on the card.
func (c *card) prepare(role node.Role, flush func() error) error {
	plan, err := Plan(c, role)
	if err != nil {
		return err
	}
	change := func() error {
		files := map[string][]byte{} // of the boot partition, written together
		for _, change := range plan {
			name, inBoot := c.inBoot(change.Name)
			switch {
			case change.Name == c.commandLine():
			case inBoot && change.New != nil && change.New.Mode.IsRegular():
				files[name] = change.New.Data
			default:
				if err := change.Apply(c); err != nil {
					return err
				}
			}
		}
		return c.boot.writeFiles(files)
	}
	return errors.Join(c.Batch(change, flush), c.remove(path.Join(c.bootDir, ErrorFile)), c.remove(attemptsFile))
}

// remove removes a file, if it is there: of a root that is read-only no other
// can be removed.
func (c *card) remove(name string) error {
	if _, err := c.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return c.Remove(name)
}

func (c *card) commandLine() string { return path.Join(c.bootDir, CommandLine) }

// commit makes the next boot an ordinary one. If something else than
// cmdline.txt makes the kernel start this program, that is an error: a restart
// would lead here again.
func (c *card) commit() error {
	text, err := c.boot.readFile(CommandLine)
	if err != nil {
		return err
	}
	if !asksForBranding(string(text)) {
		return fmt.Errorf("%s has no init=%s: want it there, not where else the kernel may have it from", CommandLine, node.ReconfigPath)
	}
	line, err := c.finished(string(text))
	if err != nil {
		return err
	}
	if err := c.boot.overwriteLine(CommandLine, line); err != nil {
		return err
	}
	if text, err = c.boot.readFile(CommandLine); err == nil && asksForBranding(string(text)) {
		err = fmt.Errorf("%s still has init=%s after it was written", CommandLine, node.ReconfigPath)
	}
	return err
}

// finished returns what text, a command line that starts the branding, is to be
// afterwards.
func (c *card) finished(text string) (string, error) {
	overlay := rootfs.NewOverlay(c)
	if err := overlay.WriteFile(c.commandLine(), []byte(text), 0); err != nil {
		return "", err
	}
	if err := (recipe.FinishBranding{BootDir: c.bootDir}).Apply(overlay); err != nil {
		return "", err
	}
	line, err := rootfs.ReadText(overlay, c.commandLine())
	return string(line), err
}

// giveUp leaves a card that starts as it is, and says why in [ErrorFile]. It
// does as much of that as it can.
func (c *card) giveUp(why error) error {
	return errors.Join(
		c.takeOut(),
		c.boot.writeFile(ErrorFile, []byte(fmt.Sprintf(errorText, why, CommandLine, node.ReconfigPath))),
		c.remove(attemptsFile),
	)
}

const errorText = `This Pi did not become what its card was written for:

    %v

It has been started as it is. To try again, mend that and put this at the end
of the line in %s, with p1 to p252, cbridge or cnat for ROLE:

    init=%s ROLE
`

// takeOut takes what starts the branding out of the command line, also one that
// [edit.ParseCommandLine] does not take.
func (c *card) takeOut() error {
	text, err := c.boot.readFile(CommandLine)
	if err != nil {
		return err
	}
	if !asksForBranding(string(text)) {
		return nil
	}
	blanked := blankBranding(string(text))
	if line, err := c.finished(blanked); err == nil && c.boot.overwriteLine(CommandLine, line) == nil {
		return nil
	}
	return c.boot.overwriteLine(CommandLine, blanked)
}
