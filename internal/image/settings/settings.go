// Package settings reads what a user wants in a cluster's images: from a
// clusterctrl.toml, or from the config-local.sh of the older shell scripts, which this
// program replaces.
//
// Both say the same things; every error names the line.
package settings

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"github.com/BurntSushi/toml"
)

// Names of the files that are read if they lie beside the base image.
const (
	FileName      = "clusterctrl.toml"
	ShellFileName = "config-local.sh"
)

// Settings are a user's choices. The zero value is not useful: see [Default].
type Settings struct {
	Lite     int `toml:"lite"` // number of nodes, by flavour of the base
	Standard int `toml:"standard"`
	Full     int `toml:"full"`

	Revision        int      `toml:"revision"` // of the images, for their names
	NAT             bool     `toml:"nat"`      // make an image of a routing controller too
	User            string   `toml:"user"`
	Password        string   `toml:"password"`      // in clear
	PasswordHash    string   `toml:"password-hash"` // crypt(5), instead of Password
	SSH             bool     `toml:"ssh"`
	AuthorizedKeys  []string `toml:"authorized-keys"`
	SerialAutologin bool     `toml:"serial-autologin"`
	Grow            Size     `toml:"grow"`    // by how much to extend the root
	Gadget          string   `toml:"gadget"`  // empty: the usual one
	Network         string   `toml:"network"` // empty: the one that the base has
	WifiCountry     string   `toml:"wifi-country"`
	WifiSSID        string   `toml:"wifi-ssid"`     // of the controller's network; empty: none
	WifiPassword    string   `toml:"wifi-password"` // in clear
	TimeZone        string   `toml:"timezone"`      // such as Europe/Berlin; empty: as the base has it, and so below
	Locale          string   `toml:"locale"`        // such as de_DE.UTF-8
	Keyboard        string   `toml:"keyboard"`      // XKB layout, such as de

	// GrowBy overrides Grow for a flavour; the shell scripts had one knob each.
	GrowBy map[rootfs.Flavour]Size `toml:"-"`
}

// Default returns the settings of a user who chose nothing.
func Default() Settings {
	const nodes = 4 // a ClusterHAT holds four
	return Settings{Lite: nodes, Standard: nodes, Full: nodes, Revision: 1, NAT: true}
}

// Nodes returns how many nodes an image of a flavour is for.
func (s Settings) Nodes(f rootfs.Flavour) int {
	switch f {
	case rootfs.Lite:
		return s.Lite
	case rootfs.Standard:
		return s.Standard
	}
	return s.Full
}

// SetNodes sets the number of nodes for all flavours.
func (s *Settings) SetNodes(n int) { s.Lite, s.Standard, s.Full = n, n, n }

// GrowOf returns by how many bytes the root of a flavour is to grow.
func (s Settings) GrowOf(f rootfs.Flavour) int64 {
	if size, ok := s.GrowBy[f]; ok {
		return int64(size)
	}
	return int64(s.Grow)
}

// Grows reports whether the root of any flavour is to grow.
func (s Settings) Grows() bool { return s.Grow > 0 || len(s.GrowBy) > 0 }

// Find returns the settings file that lies in dir, "" if there is none.
func Find(dir string) (string, error) {
	for _, name := range []string{FileName, ShellFileName} {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s: the link leads nowhere: want a settings file, or no such name", path)
		}
	}
	return "", nil
}

// Load reads a settings file: a shell file if its name ends in .sh, else TOML.
// The warnings are for the user: each names a knob that does nothing here.
func Load(path string) (s Settings, warnings []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Settings{}, nil, err
	}
	if filepath.Ext(path) == ".sh" {
		s, warnings, err = parseShell(string(text))
	} else {
		s, err = parseTOML(string(text))
	}
	if err != nil {
		return Settings{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, w := range warnings {
		warnings[i] = path + ": " + w
	}
	return s, warnings, nil
}

func parseTOML(text string) (Settings, error) {
	s := Default()
	meta, err := toml.Decode(text, &s)
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return Settings{}, fmt.Errorf("line %d: %s", parse.Position.Line, strings.TrimSuffix(parse.Message, "."))
	}
	if err != nil {
		return Settings{}, errors.New(inOurWords(err.Error()))
	}
	for _, k := range meta.Keys() { // the decoder takes keys in any case
		if key := k.String(); slices.Contains(known(), strings.ToLower(key)) && key != strings.ToLower(key) {
			return Settings{}, fmt.Errorf("line %d: unknown setting %q: want %s", lineOf(text, key), key, strings.ToLower(key))
		}
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0].String()
		return Settings{}, fmt.Errorf("line %d: unknown setting %q: want one of %s", lineOf(text, key), key, strings.Join(known(), ", "))
	}
	for _, check := range s.checks() {
		if check.err != nil {
			return Settings{}, fmt.Errorf("line %d: %w", lineOf(text, check.key), check.err)
		}
	}
	return s, nil
}

var badType = regexp.MustCompile(`^(line \d+) \(last key "(.*)"\): incompatible types: TOML value has type (\S+); destination has type (\S+)$`)

// inOurWords rewrites the decoder's error about a value of a wrong type, without the
// terms of TOML and Go.
func inOurWords(message string) string {
	message = strings.TrimPrefix(message, "toml: ")
	m := badType.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	words := map[string]string{
		"string": "text in quotes", "integer": "a whole number", "int64": "a whole number", "float64": "a fraction",
		"boolean": "true or false", "bool": "true or false", "slice": "a list in brackets", "[]any": "a list in brackets",
	}
	return fmt.Sprintf("%s: %s: got %s, want %s", m[1], m[2], cmp.Or(words[m[3]], m[3]), cmp.Or(words[m[4]], m[4]))
}

// known returns the names of all settings.
func known() []string {
	var all map[string]any
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(Settings{AuthorizedKeys: []string{""}}); err != nil {
		panic(err)
	}
	if _, err := toml.Decode(b.String(), &all); err != nil {
		panic(err)
	}
	return slices.Sorted(maps.Keys(all))
}

// lineOf returns the number of the line that sets key, counted from 1.
func lineOf(text, key string) int {
	first, _, _ := strings.Cut(key, ".")
	sets := regexp.MustCompile(`(?m)^[ \t\[]*["']?` + regexp.QuoteMeta(first) + `["']?[ \t]*[=.\]]`)
	at := sets.FindStringIndex(text)
	if at == nil {
		return 1
	}
	return 1 + strings.Count(text[:at[0]], "\n")
}

// A check is what is wrong with the value of a setting.
type check struct {
	key string
	err error
}

// Check returns what is wrong with the settings, from a file or from flags.
func (s Settings) Check() error {
	for _, c := range s.checks() {
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

func (s Settings) checks() []check {
	return []check{
		{"lite", checkNodes(s.Lite)},
		{"standard", checkNodes(s.Standard)},
		{"full", checkNodes(s.Full)},
		{"revision", checkRevision(s.Revision)},
		{"user", s.checkUser()},
		{"password", s.checkPassword()},
		{"password-hash", s.checkHash()},
		{"authorized-keys", s.checkKeys()},
		{"gadget", s.checkGadget()},
		{"network", s.checkNetwork()},
		{"wifi-country", s.checkCountry()},
		{"wifi-ssid", s.checkWifi()},
		{"wifi-password", s.checkWifiPassword()},
		{"timezone", checkForm("time zone", s.TimeZone, timeZone, "a name such as Europe/Berlin")},
		{"locale", checkForm("locale", s.Locale, locale, "a name such as de_DE.UTF-8")},
		{"keyboard", checkForm("keyboard", s.Keyboard, layout, "a layout such as de, or us,ru")},
	}
}

func checkNodes(n int) error {
	if n < 0 || n > int(node.MaxID) {
		return fmt.Errorf("%d nodes: want 0 to %d", n, node.MaxID)
	}
	return nil
}

func checkRevision(n int) error {
	if n < 0 {
		return fmt.Errorf("revision %d: want 0 or more", n)
	}
	return nil
}

func (s Settings) checkPassword() error {
	switch {
	case s.Password != "" && s.PasswordHash != "":
		return errors.New("password and password-hash: want one of them")
	case strings.ContainsAny(s.Password, "\n\r\x00"):
		return errors.New("password: want one line")
	}
	return nil
}

var userName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`) // as the vendor's first boot takes

func (s Settings) checkUser() error {
	switch {
	case s.User == "":
		return nil
	case !userName.MatchString(s.User):
		return fmt.Errorf("user %q: want a lower-case letter, then up to 31 of a-z, 0-9 and -", s.User)
	case s.User == "root":
		return errors.New("user \"root\" exists already: want another name")
	case s.Password == "" && s.PasswordHash == "" && (len(s.AuthorizedKeys) == 0 || !s.SSH):
		return fmt.Errorf("user %q could not log in: want a password or its hash, or ssh and authorized-keys", s.User)
	}
	return nil
}

var keyLine = regexp.MustCompile(`^(ssh-|ecdsa-|sk-)[^\s]+ [A-Za-z0-9+/]+=*( .*)?$`)

// IsKey reports whether a line is an SSH public key, as in an authorized_keys file
// (sshd(8)), without options before it.
func IsKey(line string) bool { return keyLine.MatchString(line) }

// checkKeys does not repeat what is no key: it may be a password.
func (s Settings) checkKeys() error {
	for i, key := range s.AuthorizedKeys {
		if !IsKey(key) {
			return fmt.Errorf("authorized key %d: want a line such as \"ssh-ed25519 AAAA... name\"", i+1)
		}
	}
	return nil
}

var country = regexp.MustCompile(`^[A-Z]{2}$`)

func (s Settings) checkCountry() error {
	if s.WifiCountry != "" && !country.MatchString(s.WifiCountry) {
		return fmt.Errorf("Wi-Fi country %q: want two capital letters, such as DE", s.WifiCountry)
	}
	return nil
}

func (s Settings) checkWifi() error {
	switch {
	case s.WifiSSID == "" && s.WifiPassword == "":
		return nil
	case s.WifiSSID == "" || len(s.WifiSSID) > 32: // bytes, IEEE 802.11
		return fmt.Errorf("Wi-Fi network %q: want a name of 1 to 32 bytes", s.WifiSSID)
	case s.WifiCountry == "":
		return errors.New("Wi-Fi stays off without a country: want wifi-country too, such as DE")
	}
	return nil
}

func (s Settings) checkWifiPassword() error {
	if s.WifiSSID != "" && (len(s.WifiPassword) < 8 || len(s.WifiPassword) > 63) { // bytes, WPA2
		return errors.New("Wi-Fi password: want 8 to 63 characters")
	}
	return nil
}

// WifiKey returns the key that follows from the network's name and password (IEEE 802.11,
// annex J.4), in hex, or "" where there is no network. A key needs no quoting.
func (s Settings) WifiKey() (string, error) {
	if s.WifiSSID == "" {
		return "", nil
	}
	const rounds, size = 4096, 32
	key, err := pbkdf2.Key(sha1.New, s.WifiPassword, []byte(s.WifiSSID), rounds, size)
	return hex.EncodeToString(key), err
}

// Forms of names whose existence the base decides.
var (
	timeZone = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`) // in /usr/share/zoneinfo
	locale   = regexp.MustCompile(`^[A-Za-z]{1,3}(_[A-Z]{2})?\.UTF-8(@[a-z]+)?$`)
	layout   = regexp.MustCompile(`^[a-z]{2,8}(,[a-z]{2,8})*$`) // xkeyboard-config(7)
)

func checkForm(what, value string, form *regexp.Regexp, want string) error {
	if value == "" || form.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%s %q: want %s", what, value, want)
}

var cryptHash = regexp.MustCompile(`^\$(5|6|y|gy|7|2[aby])\$[./0-9A-Za-z=,$]+$`)

func (s Settings) checkHash() error {
	if s.PasswordHash != "" && !cryptHash.MatchString(s.PasswordHash) {
		return errors.New("password-hash: want a hash as \"openssl passwd -6\" prints, starting with $6$ or $y$")
	}
	return nil
}

func (s Settings) checkNetwork() error {
	if s.Network == "" {
		return nil
	}
	return checkWord("network", rootfs.NetworkProgram(s.Network), rootfs.NetworkPrograms)
}

func (s Settings) checkGadget() error {
	if s.Gadget == "" {
		return nil
	}
	return checkWord("gadget", node.Gadget(s.Gadget), node.Gadgets)
}

func checkWord[W ~string](what string, word W, allowed []W) error {
	if slices.Contains(allowed, word) {
		return nil
	}
	var list []string
	for _, w := range allowed {
		list = append(list, string(w))
	}
	return fmt.Errorf("%s %q: want %s", what, word, strings.Join(list, ", "))
}

// A Size is a number of bytes.
type Size int64

var sizeForm = regexp.MustCompile(`^(\d{1,12})([KMG]?)(i?B)?$`)

// UnmarshalText reads a size such as 500M: K, M and G are powers of 1024, as
// for truncate(1) and resize2fs(8).
func (s *Size) UnmarshalText(text []byte) error {
	m := sizeForm.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("size %q: want a number and K, M or G, such as 500M", text)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	shift := map[string]int{"": 0, "K": 10, "M": 20, "G": 30}[string(m[2])]
	if err != nil || n > 1<<42>>shift {
		return fmt.Errorf("size %q: want 4096G at most", text)
	}
	if n <<= shift; n > 0 && n < 1<<20 { // 500 is meant as 500M
		return fmt.Errorf("size %q: want 1M at least, such as 500M", text)
	}
	*s = Size(n)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (s Size) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(s), 10), nil }

// Set and Type let a Size be a flag.
func (s *Size) Set(text string) error { return s.UnmarshalText([]byte(text)) }

// Type is what help texts call the value.
func (s *Size) Type() string { return "size" }

func (s *Size) String() string { return strconv.FormatInt(int64(*s), 10) }
