package fat

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// checkName says whether a file can be called name. The rules are those of
// Linux, but it drops dots at the end silently.
func checkName(name string) error {
	if n := len(utf16.Encode([]rune(name))); n > maxNameUnits {
		return fmt.Errorf("%w: a name of %d UTF-16 units, want at most %d", fs.ErrInvalid, n, maxNameUnits)
	}
	for _, r := range name {
		if r < ' ' || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("%w: FAT has no %q in names", fs.ErrInvalid, r)
		}
	}
	if strings.TrimRight(name, ". ") != name {
		return fmt.Errorf("%w: FAT has no dot or blank at the end of names", fs.ErrInvalid)
	}
	return nil
}

// sameName says whether a and b name the same file. Like Linux with UTF-8 names, it
// ignores the case of ASCII letters, but not of other letters.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}

// An alias is the 8.3 name of a file, in two parts.
type alias struct {
	stem, extension string
	exact           bool // nothing but the case of letters differs from the name
}

func newAlias(name string) alias {
	stem, extension := name, ""
	dot := strings.LastIndexByte(name, '.')
	if dot > 0 && strings.Trim(name[:dot], ". ") != "" {
		stem, extension = name[:dot], name[dot+1:]
	}
	shortStem, stemExact := shorten(stem, 8)
	shortExtension, extensionExact := shorten(extension, 3)
	return alias{shortStem, shortExtension, stemExact && extensionExact}
}

// shorten turns part of a name into at most n characters that an alias can
// have, and says whether it is still the same.
func shorten(part string, n int) (short string, exact bool) {
	var s strings.Builder
	exact = true
	for _, r := range part {
		switch {
		case s.Len() == n:
			return s.String(), false
		case r == '.' || r == ' ':
			exact = false
		case r > '~' || strings.ContainsRune("+,;=[]", r):
			exact = false
			s.WriteByte('_')
		default:
			s.WriteString(strings.ToUpper(string(r)))
		}
	}
	return s.String(), exact
}

func (a alias) bytes() [11]byte { return shortBytes(a.stem, a.extension) }

// String is how the alias is shown.
func (a alias) String() string { return shortString(a.bytes(), 0) }

// numbered returns variants of the alias, as Linux makes them: NAME~1 to
// NAME~9, then from NA12AB~1 on. Linux takes the digits from the clock, here
// they follow from the name.
func (a alias) numbered(name string) func(yield func(alias) bool) {
	return func(yield func(alias) bool) {
		for i := 1; i <= 9; i++ {
			if !yield(alias{stem: fmt.Sprintf("%.6s~%d", a.stem, i), extension: a.extension}) {
				return
			}
		}
		hash := fnv.New32a()
		hash.Write([]byte(name))
		for i := range uint32(1 << 16) {
			digits := uint16(hash.Sum32() + i)
			if !yield(alias{stem: fmt.Sprintf("%.2s%04X~1", a.stem, digits), extension: a.extension}) {
				return
			}
		}
	}
}
