package diskimage

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
)

// partialName matches the names of temporary files. The program's own name in
// it is what makes it safe to remove such files unasked.
var partialName = regexp.MustCompile(`^\.(.+)\.clusterctrl-[0-9a-f]{8}$`)

// finalName turns the path of a temporary file into that of its output; other
// paths stay as they are.
func finalName(path string) string {
	dir, name := filepath.Split(path)
	return dir + partialName.ReplaceAllString(name, "$1")
}

// createTemp opens a new temporary file for the output name. As long as it is
// open it is locked, which tells it from one that a killed run left behind.
func createTemp(dir, name string) (*os.File, error) {
	var random [4]byte
	rand.Read(random[:]) // never fails
	partial := "." + name + ".clusterctrl-" + hex.EncodeToString(random[:])
	f, err := os.OpenFile(filepath.Join(dir, partial), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	tryLock(f) // where it fails, removeStale cannot lock the file either
	allowHoles(f)
	return f, nil
}

// removeStale removes the temporary files of runs that ended without cleaning
// up. The caller holds the directory's lock, so none of them is between its
// creation and its lock.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // a directory may be writable and not readable
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !partialName.MatchString(e.Name()) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if tryLock(f) {
			os.Remove(name)
		}
		f.Close()
	}
}
