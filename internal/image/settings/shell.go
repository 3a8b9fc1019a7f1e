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

	"clusterctrl/internal/tree/rootfs"
)

// A knob carries the value of a shell variable over.
type knob func(s *Settings, value string) error

func number(field func(*Settings) *int) knob {
	return func(s *Settings, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q: want a number", value)
		}
		*field(s) = n
		return nil
	}
}

func text(field func(*Settings) *string) knob {
	return func(s *Settings, value string) error {
		*field(s) = value
		return nil
	}
}

func boolean(field func(*Settings) *bool) knob {
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
func growth(f rootfs.Flavour) knob {
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
	"MAXPLITE":        number(func(s *Settings) *int { return &s.Lite }),
	"MAXPSTD":         number(func(s *Settings) *int { return &s.Standard }),
	"MAXPFULL":        number(func(s *Settings) *int { return &s.Full }),
	"REV":             number(func(s *Settings) *int { return &s.Revision }),
	"USERNAME":        text(func(s *Settings) *string { return &s.User }),
	"PASSWORD":        text(func(s *Settings) *string { return &s.Password }),
	"ENABLESSH":       boolean(func(s *Settings) *bool { return &s.SSH }),
	"SERIALAUTOLOGIN": boolean(func(s *Settings) *bool { return &s.SerialAutologin }),
	"MAKECNAT":        boolean(func(s *Settings) *bool { return &s.NAT }),
	"GROWLITE":        growth(rootfs.Lite),
	"GROWSTD":         growth(rootfs.Standard),
	"GROWFULL":        growth(rootfs.Full),
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
	value, err := unquote(value)
	if err == nil {
		err = knob(&f.settings, value)
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
		if knobs[m[1]] != nil {
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
	quote, brackets, before := rune(0), 0, ' '
	comment := false
	for _, r := range line {
		switch {
		case comment:
			comment = r != '\n'
		case before == '\\' && quote != '\'':
			r = ' ' // it counts for nothing, and escapes nothing
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '#' && (before == ' ' || before == '\t' || before == '\n'):
			comment = true
		case r == '\'' || r == '"':
			quote = r
		case r == '(' && before == '=', r == '(' && brackets > 0:
			brackets++
		case r == ')' && brackets > 0:
			brackets--
		}
		before = r
	}
	return quote != 0 || brackets > 0 || !comment && before == '\\'
}

// checkShell names the line of the variable that a setting came from.
func checkShell(s Settings, lines map[string]int) error {
	variables := map[string]string{
		"lite": "MAXPLITE", "standard": "MAXPSTD", "full": "MAXPFULL", "revision": "REV", "user": "USERNAME", "password": "PASSWORD",
	}
	for _, c := range s.checks() {
		if c.err != nil {
			name := variables[c.key]
			return fmt.Errorf("line %d: %s: %w", lines[name], name, c.err)
		}
	}
	return nil
}

var errExpansion = errors.New("want a plain value: $, ` and \\ need single quotes around them here")

// unquote removes quotes and a comment at the end, as sh(1) does.
func unquote(value string) (string, error) {
	var b strings.Builder
	quote := rune(0)
	for i, r := range value {
		switch {
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case r == quote && quote != 0:
			quote = 0
		case quote != '\'' && (r == '$' || r == '`' || r == '\\'):
			return "", errExpansion
		case quote == 0 && (r == ' ' || r == '\t'):
			if rest := strings.TrimSpace(value[i:]); rest != "" && rest[0] != '#' {
				return "", fmt.Errorf("%.40q after the value: want quotes around a value with blanks", rest)
			}
			return b.String(), nil
		case quote == 0 && strings.ContainsRune(";&|<>()", r):
			return "", fmt.Errorf("%q: want a plain value, or quotes around it", r)
		default:
			b.WriteRune(r)
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("no closing %c", quote)
	}
	return b.String(), nil
}
