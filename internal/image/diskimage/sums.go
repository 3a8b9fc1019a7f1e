package diskimage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// SumsName is the file in which a directory keeps its files' SHA-256.
const SumsName = "SHA256SUMS"

// A Sum is a SHA-256.
type Sum [sha256.Size]byte

// ParseSum parses the written form of a Sum, 64 hex digits.
func ParseSum(s string) (Sum, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return Sum{}, fmt.Errorf("SHA-256 %q: want %d hex digits", s, 2*sha256.Size)
	}
	return Sum(b), nil
}

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText writes a Sum into JSON as [ParseSum] reads it.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// sumLine is a line of SHA256SUMS; a star before the name means nothing on Unix.
var sumLine = regexp.MustCompile(`^([0-9a-fA-F]{64}) [ *](.+)$`)

// ReadSums returns the sums in a SHA256SUMS file by the names of the files.
func ReadSums(file string) (map[string]Sum, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sums := map[string]Sum{}
	for line := range strings.Lines(string(text)) {
		m := sumLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		if sums[m[2]], err = ParseSum(m[1]); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// mergeSums returns the content of a SHA256SUMS file with sums added to what
// old has, sorted by name. Lines that are not sums come first, unchanged.
func mergeSums(old string, sums map[string]Sum) string {
	var foreign strings.Builder
	all := map[string]string{}
	for line := range strings.Lines(old) {
		line = strings.TrimRight(line, "\r\n")
		if m := sumLine.FindStringSubmatch(line); m != nil {
			all[m[2]] = line
		} else {
			foreign.WriteString(line + "\n")
		}
	}
	for name, sum := range sums {
		all[name] = sum.String() + "  " + name
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		foreign.WriteString(all[name] + "\n")
	}
	return foreign.String()
}

// dropSums returns old without the lines of files, whose content has changed.
func dropSums(old string, files []*Output) string {
	var kept strings.Builder
	for line := range strings.Lines(old) {
		m := sumLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil || !slices.ContainsFunc(files, func(f *Output) bool { return f.Final == m[2] }) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// writeSums puts sums into dir's SHA256SUMS, in place of its lines for files. The
// caller holds the directory's lock.
func writeSums(dir string, files []*Output, sums map[string]Sum) error {
	name := filepath.Join(dir, SumsName)
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := dropSums(string(text), files)
	if len(sums) == 0 && old == string(text) {
		return nil
	}
	if len(sums) == 0 && old == "" {
		return os.Remove(name)
	}
	f, err := createTemp(dir, SumsName)
	if err != nil {
		return fmt.Errorf("%s: %w", name, withoutPath(err))
	}
	_, err = f.WriteString(mergeSums(old, sums))
	if err := errors.Join(err, f.Sync(), rename(f, name)); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: %w", name, withoutPath(err))
	}
	return nil
}
