package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// A card is the Tree of a Pi whose root is mounted and whose boot partition is
// not. Links that lead from the root into the boot partition are followed only
// through an [rootfs.Overlay], as a plan is made.
type card struct {
	root
	boot    *fat.Volume // nil as long as it is not found
	bootDir string      // where the system will mount the boot partition
}

// A root is where the system lives. See [rootfs.Dir.Batch].
type root interface {
	rootfs.Tree
	Batch(change, flush func() error) error
}

// inBoot returns the name that the boot partition has for what the tree calls
// name.
func (c *card) inBoot(name string) (string, bool) {
	if c.boot == nil {
		return "", false
	}
	if name == c.bootDir {
		return ".", true
	}
	return strings.CutPrefix(name, c.bootDir+"/")
}

func (c *card) Open(name string) (fs.File, error) {
	if rest, ok := c.inBoot(name); ok {
		fsys, err := c.boot.FS()
		if err != nil {
			return nil, err
		}
		return fsys.Open(rest)
	}
	return c.root.Open(name)
}

func (c *card) Lstat(name string) (fs.FileInfo, error) {
	if rest, ok := c.inBoot(name); ok {
		fsys, err := c.boot.FS()
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
		return c.boot.WriteFile(rest, data)
	}
	return c.root.WriteFile(name, data, perm)
}

func (c *card) Remove(name string) error {
	if rest, ok := c.inBoot(name); ok {
		return c.boot.Remove(rest)
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

// isMember says whether the Pi is a member of the cluster. An unconfigured node is no
// member, nor is a Pi whose branding was begun and not finished.
func (c *card) isMember() bool {
	settings, err := rootfs.ReadText(c, strings.TrimPrefix(node.SettingsFile, "/"))
	if err != nil {
		return false
	}
	number, _ := defaults.Text(settings).Value("ID") // a number that cannot be read is the owner's
	_, begun := c.Stat(attemptsFile)
	return begun != nil && number != node.Unconfigured.Role().Number()
}

// count notes that an attempt begins, if there were fewer than limit. The note is on
// the card after the next flush. A file that a power cut left short counts as none.
func (c *card) count(limit int) error {
	text, err := rootfs.ReadText(c, attemptsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // a text that is no number counts as 0
	if n >= limit {
		return fmt.Errorf("begun %d times and never finished: want at most %d", n, limit)
	}
	write := edit.WriteFile{Name: attemptsFile, Data: strconv.Itoa(n+1) + "\n"}
	return c.Batch(func() error { return write.Apply(c) }, func() error { return nil })
}

// planFallback returns the changes that make the Pi an unconfigured node, as far as they
// can be made; its banner and [ErrorFile] will say why.
func (c *card) planFallback(why error) (edit.Plan, error) {
	overlay := rootfs.NewOverlay(c)
	found, err := rootfs.Identify(overlay)
	if err != nil {
		return nil, err
	}
	left := []error{why}
	for _, e := range recipe.Unconfigured(recipe.System{OS: found}, why.Error()) {
		if err := e.Apply(overlay); err != nil {
			left = append(left, fmt.Errorf("%v: %w", e, err))
		}
	}
	report := edit.WriteFile{Name: path.Join(c.bootDir, ErrorFile), Data: errorReport(errors.Join(left...), fallbackState)}
	if err := report.Apply(overlay); err != nil {
		return nil, err
	}
	changes, err := overlay.Changes()
	if c.boot == nil { // what lies where it would be mounted is of no use
		changes = slices.DeleteFunc(changes, func(change rootfs.Change) bool {
			return strings.HasPrefix(change.Name, c.bootDir+"/")
		})
	}
	return changes, err
}

// prepare makes the changes of a plan, which are safely on the card with the next
// flush.
func (c *card) prepare(plan edit.Plan, flush func() error) error {
	change := func() error {
		files := map[string][]byte{} // of the boot partition, written together
		for _, change := range plan {
			name, inBoot := c.inBoot(change.Name)
			switch {
			case inBoot && change.New != nil && change.New.Mode.IsRegular():
				files[name] = change.New.Data
			default:
				if err := change.Apply(c); err != nil {
					return err
				}
			}
		}
		if c.boot == nil {
			return nil
		}
		err := c.boot.WriteFiles(files)
		if _, ok := files[Backup]; ok && errors.Is(err, fat.ErrNoSpace) {
			delete(files, Backup) // which is a courtesy
			err = c.boot.WriteFiles(files)
		}
		return err
	}
	return c.Batch(change, flush)
}

// prepareFallback is prepare, but changes the root even if the boot partition cannot be
// changed.
func (c *card) prepareFallback(plan edit.Plan, flush func() error) error {
	var inRoot, inBoot edit.Plan
	for _, change := range plan {
		if _, ok := c.inBoot(change.Name); ok {
			inBoot = append(inBoot, change)
		} else {
			inRoot = append(inRoot, change)
		}
	}
	return errors.Join(c.prepare(inBoot, flush), c.prepare(inRoot, flush))
}

// remove removes a file, if it is there. A file that is not there is no error, even on a
// root that is read-only.
func (c *card) remove(name string) error {
	if _, err := c.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return c.Remove(name)
}

// commit makes the next boot an ordinary one, by the change of cmdline.txt. If
// something else than that file makes the kernel start this program, that is an
// error: a restart would lead here again.
func (c *card) commit(finish edit.Plan) error {
	return c.end(func(string) error {
		for _, change := range finish {
			if err := c.boot.OverwriteLine(CommandLine, string(change.New.Data)); err != nil {
				return err
			}
		}
		return nil
	})
}

// commitFallback is commit, whatever else is in the command line.
func (c *card) commitFallback() error {
	if c.boot == nil {
		return errors.New("no boot partition was found")
	}
	return c.end(func(string) error { return c.takeOut() })
}

// end has change end the branding in the command line, and checks that it did.
func (c *card) end(change func(text string) error) error {
	text, err := readCommandLine(c.boot)
	if err != nil {
		return err
	}
	if !recipe.StartsBranding(string(text)) {
		return fmt.Errorf("%s has no init=%s: want it there, not where else the kernel may have it from", CommandLine, node.ReconfigPath)
	}
	if err := change(string(text)); err != nil {
		return err
	}
	if text, err = readCommandLine(c.boot); err == nil && recipe.StartsBranding(string(text)) {
		err = fmt.Errorf("%s still has init=%s after it was written", CommandLine, node.ReconfigPath)
	}
	return err
}

// giveUp makes the card start its system unchanged, and says why in [ErrorFile]. It does
// as much of that as it can.
func (c *card) giveUp(why error) error {
	return errors.Join(
		c.takeOut(),
		c.boot.WriteFile(ErrorFile, []byte(errorReport(why, "It has been started as it is."))),
		c.remove(attemptsFile),
	)
}

func errorReport(why error, state string) string {
	return fmt.Sprintf(`This Pi did not become what its card was written for:

    %s

%s
To try again, mend that and put this at the end of the line in %s,
with p1 to p252, cbridge or cnat for ROLE:

    init=%s ROLE
`, strings.ReplaceAll(why.Error(), "\n", "\n    "), state, CommandLine, node.ReconfigPath)
}

// fallbackState is what [ErrorFile] says of an unconfigured node.
var fallbackState = fmt.Sprintf("Meanwhile it is a node without a number, %v on its USB cable.", node.Unconfigured.Addr())

// takeOut takes the words that start the branding out of the command line, even if
// [edit.ParseCommandLine] refuses that line.
func (c *card) takeOut() error {
	text, err := readCommandLine(c.boot)
	if err != nil {
		return err
	}
	if !recipe.StartsBranding(string(text)) {
		return nil
	}
	blanked := recipe.BlankBranding(string(text))
	if line, err := recipe.FinishedLine(c, c.bootDir, blanked); err == nil && c.boot.OverwriteLine(CommandLine, line) == nil {
		return nil
	}
	if c.boot.OverwriteLine(CommandLine, recipe.VendorBack(c, c.bootDir, blanked)) == nil {
		return nil
	}
	return c.boot.OverwriteLine(CommandLine, blanked)
}
