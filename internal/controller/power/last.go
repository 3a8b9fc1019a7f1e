package power

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"clusterctrl/internal/node"
)

// LastDir is the directory in which a controller notes the last command to each node.
const LastDir = node.StateDir + "/power"

// Last keeps the last command to each node, on or off. It is the path of a directory, in
// which a file has lines such as "p1:1".
type Last string

func (l Last) file() string { return filepath.Join(string(l), "last") }

// Nodes returns the nodes that were switched on last, by number.
func (l Last) Nodes() ([]node.ID, error) {
	states, err := l.read()
	var ids []node.ID
	for _, id := range slices.Sorted(maps.Keys(states)) {
		if states[id] {
			ids = append(ids, id)
		}
	}
	return ids, err
}

func (l Last) read() (map[node.ID]bool, error) {
	text, err := os.ReadFile(l.file())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	states := map[node.ID]bool{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		id, bad := node.ParseID(name)
		if bad != nil || value != "0" && value != "1" {
			return nil, fmt.Errorf("%s: line %q: want a node and its state, such as p1:1", l.file(), line)
		}
		states[id] = value == "1"
	}
	return states, err
}

// Note notes a command to a node.
func (l Last) Note(id node.ID, on bool) error {
	unlock, err := lockDir(string(l))
	if err != nil {
		return err
	}
	defer unlock()
	states, err := l.read()
	if err != nil {
		return err
	}
	if was, known := states[id]; known && was == on {
		return nil
	}
	states[id] = on
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(&text, "%v:%d\n", id, digit(states[id]))
	}
	return l.write(text.String())
}

// write replaces the file. At any time there is the old file or the new one, whole.
func (l Last) write(text string) (err error) {
	f, err := os.CreateTemp(string(l), ".last-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), l.file())
}
