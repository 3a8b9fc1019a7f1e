package settings

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"clusterctrl/internal/tree/defaults"
	"clusterctrl/internal/tree/rootfs"
)

// A knob is a shell variable that is read here.
type knob struct {
	key string // of the setting, as [Settings] names it
	set setter
}

// A setter carries the value of a shell variable over.
type setter func(s *Settings, value string) error

func number(field func(*Settings) *int) setter {
	return func(s *Settings, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q: want a number", value)
		}
		*field(s) = n
		return nil
	}
}

func text(field func(*Settings) *string) setter {
	return func(s *Settings, value string) error {
		*field(s) = value
		return nil
	}
}

func boolean(field func(*Settings) *bool) setter {
	return func(s *Settings, value string) error {
		switch value {
		case "1":
			*field(s) = true
		case "0", "":
			*field(s) = false
		default:
			return fmt.Errorf("%q: want 0 or 1", value)
		}
		return nil
	}
}

// growth reads a size; a number alone counts in MiB.
func growth(f rootfs.Flavour) setter {
	return func(s *Settings, value string) error {
		if _, err := strconv.Atoi(value); err == nil {
			value += "M"
		}
		var size Size
		if err := size.UnmarshalText([]byte(value)); err != nil {
			return err
		}
		if s.GrowBy == nil {
			s.GrowBy = map[rootfs.Flavour]Size{}
		}
		s.GrowBy[f] = size
		return nil
	}
}

var knobs = map[string]knob{
	"MAXPLITE":        {"lite", number(func(s *Settings) *int { return &s.Lite })},
	"MAXPSTD":         {"standard", number(func(s *Settings) *int { return &s.Standard })},
	"MAXPFULL":        {"full", number(func(s *Settings) *int { return &s.Full })},
	"REV":             {"revision", number(func(s *Settings) *int { return &s.Revision })},
	"USERNAME":        {"user", text(func(s *Settings) *string { return &s.User })},
	"PASSWORD":        {"password", text(func(s *Settings) *string { return &s.Password })},
	"ENABLESSH":       {"ssh", boolean(func(s *Settings) *bool { return &s.SSH })},
	"SERIALAUTOLOGIN": {"serial-autologin", boolean(func(s *Settings) *bool { return &s.SerialAutologin })},
	"MAKECNAT":        {"nat", boolean(func(s *Settings) *bool { return &s.NAT })},
	"GROWLITE":        {"grow", growth(rootfs.Lite)},
	"GROWSTD":         {"grow", growth(rootfs.Standard)},
	"GROWFULL":        {"grow", growth(rootfs.Full)},
}

var assignment = regexp.MustCompile(`(?s)^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)(\+?)=(.*)$`)

// parseShell reads lines NAME=value as a shell would, as far as no shell is
// needed: quotes and comments, but no expansions. No shell ever sees the file.
func parseShell(file string) (Settings, []string, error) {
	f := shellFile{settings: Default(), lines: map[string]int{}}
	f.settings.Standard, f.settings.Full = 0, 0 // as the scripts have it where nothing is set
	at := 1
	for line := range logicalLines(strings.TrimPrefix(file, "\ufeff")) {
		if err := f.take(at, strings.TrimSpace(line)); err != nil {
			return Settings{}, nil, fmt.Errorf("line %d: %w", at, err)
		}
		at += 1 + strings.Count(line, "\n")
	}
	s := f.settings
	if s.User == "" && s.Password != "" {
		s.User = "pi"
	}
	return s, f.warnings, checkShell(s, f.lines)
}

// A shellFile is what has been read so far.
type shellFile struct {
	settings  Settings
	warnings  []string
	lines     map[string]int // that set a knob
	condition int            // how many commands "if" have not met their "fi"
}

func (f *shellFile) warn(at int, format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf("line %d: ", at)+fmt.Sprintf(format, args...))
}

// take reads one line.
func (f *shellFile) take(at int, line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	m := assignment.FindStringSubmatch(line)
	if m == nil {
		return f.command(at, line)
	}
	name, appends, value := m[1], m[2] != "", m[3]
	knob, known := knobs[name]
	switch {
	case !known && goesOn(line):
		return fmt.Errorf("%s: its quotes or brackets are not closed by the end of the file", name)
	case !known:
		f.warn(at, "%s does nothing here", name)
		return nil
	case f.condition > 0:
		return fmt.Errorf("%s=: want it outside of \"if\": no shell runs this file", name)
	case appends:
		return fmt.Errorf("%s+=: want %s=value", name, name)
	}
	value, err := plainValue(value)
	if err == nil {
		err = knob.set(&f.settings, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if name == "SERIALAUTOLOGIN" && f.settings.SerialAutologin {
		f.warn(at, "SERIALAUTOLOGIN is for the console on USB here, not for the one on the UART")
	}
	f.lines[name] = at
	return nil
}

var setsKnob = regexp.MustCompile(`(?:^|[\s;&|])([A-Za-z_][A-Za-z0-9_]*)\+?=`)

// command ignores the lines by which the scripts' config.sh reads other files, such as
// ". ./config-local.sh". A command that could set a knob is an error.
func (f *shellFile) command(at int, line string) error {
	for _, m := range setsKnob.FindAllStringSubmatch(line, -1) {
		if _, known := knobs[m[1]]; known {
			return fmt.Errorf("%.40q: want %s=value alone: no shell runs this file", line, m[1])
		}
	}
	words := strings.FieldsFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == ';' })
	words = append(words, "") // there may be none
	switch words[0] {
	case "if":
		f.condition++
	case "[", "[[", "test", ".", "source", "then", "else", "elif", "fi":
	default:
		return fmt.Errorf("%.40q: want NAME=value", line)
	}
	if slices.Contains(words, "fi") {
		f.condition = max(0, f.condition-1)
	}
	if slices.Contains(words, ".") || slices.Contains(words, "source") {
		f.warn(at, "%.40q does nothing here: what that file sets, set in this one", line)
	}
	return nil
}

// logicalLines yields the lines of a shell file. Between quotes or brackets, a value
// goes on in the next.
func logicalLines(file string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest, more := file, true
		for more {
			var line, next string
			line, rest, more = strings.Cut(rest, "\n")
			for more && goesOn(line) {
				next, rest, more = strings.Cut(rest, "\n")
				line += "\n" + next
			}
			if !yield(line) {
				return
			}
		}
	}
}

// goesOn reports whether a line ends within quotes or within an array's brackets, or
// with a backslash.
func goesOn(line string) bool {
	brackets, before, comment := 0, ' ', false
	var quotes defaults.Quotes
	for _, r := range line {
		switch {
		case comment:
			comment = r != '\n'
		case before == '\\' && quotes.Open != '\'':
			r = ' ' // it counts for nothing, and escapes nothing
		case quotes.Mark(r), quotes.Open != 0:
		case r == '#' && (before == ' ' || before == '\t' || before == '\n'):
			comment = true
		case r == '(' && before == '=', r == '(' && brackets > 0:
			brackets++
		case r == ')' && brackets > 0:
			brackets--
		}
		before = r
	}
	return quotes.Open != 0 || brackets > 0 || !comment && before == '\\'
}

// checkShell checks the settings, and names the variable and the line that a wrong one
// came from.
func checkShell(s Settings, lines map[string]int) error {
	for _, c := range s.checks() {
		for name, at := range lines {
			if c.err != nil && knobs[name].key == c.key {
				return fmt.Errorf("line %d: %s: %w", at, name, c.err)
			}
		}
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

var errExpansion = errors.New("want a plain value: $, ` and \\ need single quotes around them here")

// plainValue returns what sh(1) would make of a value: without quotes, and without a
// comment at the end. What needs a shell is an error.
func plainValue(value string) (string, error) {
	var b strings.Builder
	var quotes defaults.Quotes
	for i, r := range value {
		switch {
		case quotes.Mark(r):
		case quotes.Open != '\'' && (r == '$' || r == '`' || r == '\\'):
			return "", errExpansion
		case quotes.Open == 0 && (r == ' ' || r == '\t'):
			if rest := strings.TrimSpace(value[i:]); rest != "" && rest[0] != '#' {
				return "", fmt.Errorf("%.40q after the value: want quotes around a value with blanks", rest)
			}
			return b.String(), nil
		case quotes.Open == 0 && strings.ContainsRune(";&|<>()", r):
			return "", fmt.Errorf("%q: want a plain value, or quotes around it", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), quotes.Err()
}
