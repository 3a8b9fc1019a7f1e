package settings

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

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

var assignment = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)(\+?)=(.*)$`)

// parseShell reads lines NAME=value as a shell would, as far as no shell is
// needed: quotes and comments, but no expansions. No shell ever sees the file.
func parseShell(file string) (Settings, []string, error) {
	s := Default()
	var warnings []string
	lines := map[string]int{} // that set a knob
	for i, line := range strings.Split(strings.TrimPrefix(file, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		m := assignment.FindStringSubmatch(line)
		if m == nil {
			return Settings{}, nil, fmt.Errorf("line %d: %.40q: want NAME=value", i+1, line)
		}
		name, appends, value := m[1], m[2] != "", m[3]
		knob, known := knobs[name]
		if !known {
			warnings = append(warnings, fmt.Sprintf("line %d: %s does nothing here", i+1, name))
			continue
		}
		if appends {
			return Settings{}, nil, fmt.Errorf("line %d: %s+=: want %s=value", i+1, name, name)
		}
		value, err := unquote(value)
		if err == nil {
			err = knob(&s, value)
		}
		if err != nil {
			return Settings{}, nil, fmt.Errorf("line %d: %s: %w", i+1, name, err)
		}
		lines[name] = i + 1
	}
	if s.User == "" && s.Password != "" {
		s.User = "pi"
	}
	return s, warnings, checkShell(s, lines)
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
