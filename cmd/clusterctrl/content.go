package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/download"
	"clusterctrl/internal/image/payload"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// contentFlags say what images are made from and what they hold, whether they are
// written to files or to cards.
type contentFlags struct {
	config, sum                      string
	branded, ssh, autologin          bool
	user, passwordFile, passwordHash string
	keys                             []string
	grow                             settings.Size
	gadget, network, country         string
	timeZone, locale, keyboard       string
}

func (f *contentFlags) addFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "read settings from `FILE`")
	fl.StringVar(&f.sum, "sha256", "", "the SHA-256 that the base must have, in `HEX`")
	fl.BoolVar(&f.branded, "branded", false, "do now, in each image, what its first boot would do")
	fl.StringVar(&f.user, "user", "", "`NAME` of the first user; with a password alone, it is "+recipe.DefaultUser)
	fl.StringVar(&f.passwordFile, "password-file", "", "read the user's password from the first line of `FILE`, - for standard input")
	fl.StringVar(&f.passwordHash, "password-hash", "", "the user's password as a crypt(5) `HASH`")
	fl.BoolVar(&f.ssh, "ssh", false, "turn the SSH server on")
	fl.StringArrayVar(&f.keys, "authorized-keys", nil, "let in by SSH the owners of the keys in `FILE`")
	fl.BoolVar(&f.autologin, "serial-autologin", false, "log the user in on the USB serial console, unasked")
	fl.Var(&f.grow, "grow", "extend the root by `SIZE`, such as 500M (needs resize2fs)")
	fl.StringVar(&f.gadget, "gadget", string(node.RNDIS), "the `CARD` that nodes show on USB: rndis, ncm or ecm")
	fl.StringVar(&f.network, "network", "", "configure this network `PROGRAM` instead of the one found")
	fl.StringVar(&f.country, "wifi-country", "", "`CODE` of the country whose Wi-Fi rules apply, such as DE")
	fl.StringVar(&f.timeZone, "timezone", "", "the time `ZONE`, such as Europe/Berlin")
	fl.StringVar(&f.locale, "locale", "", "the `LOCALE`, such as en_GB.UTF-8, which the base must have")
	fl.StringVar(&f.keyboard, "keyboard", "", "the `LAYOUT` of keyboards, such as de")
	complete(cmd, "gadget", node.Gadgets...)
	complete(cmd, "network", rootfs.NetworkPrograms...)
}

// settingFlags are those that count when an image is made from a base.
var settingFlags = []string{"config", "user", "password-file", "password-hash", "ssh", "authorized-keys",
	"serial-autologin", "grow", "gadget", "network", "wifi-country", "timezone", "locale", "keyboard"}

// refuseSettings refuses flags that would do nothing, for a reason.
func refuseSettings(cmd *cobra.Command, flags []string, reason string) error {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return usagef("--%s does nothing here: %s", name, reason)
		}
	}
	return nil
}

// An override assigns further settings, each by a call of set with the flag that
// has to be given for that.
type override func(s *settings.Settings, set func(flag string, assign func()))

// options returns what the flags say of images of base, which the caller closes.
func (f contentFlags) options(cmd *cobra.Command, base string, more override) (o provision.Options, closeBase func() error, err error) {
	if err := named(cmd, "config", "user", "password-file", "password-hash", "authorized-keys",
		"gadget", "network", "wifi-country", "timezone", "locale", "keyboard"); err != nil {
		return o, nil, err
	}
	if f.passwordFile != "" && cmd.Flags().Changed("password-hash") {
		return o, nil, usagef("--password-file and --password-hash: want one of them")
	}
	if f.passwordFile == stdinName && base == diskimage.Stdin {
		return o, nil, usagef("--password-file - and the base -: standard input can be one of them")
	}
	o = provision.Options{Branded: f.branded, Version: thisBuild().Version, Programs: payload.Programs, USBRoot: payload.USBRoot, Warn: func(what string) {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", what)
	}}
	if o.Sum, err = f.wantedSum(cmd); err != nil {
		return o, nil, err
	}
	if o.Time, err = sourceDate(); err != nil {
		return o, nil, err
	}
	if o.Settings, err = f.settings(cmd, base, more); err != nil {
		return o, nil, err
	}
	in, err := openInput(cmd, base)
	if err != nil {
		return o, nil, err
	}
	o.Base, o.Input, o.InputName = in.name, in.stream, in.image
	if o.Sum == nil {
		o.Sum = in.sum
	}
	return o, in.close, nil
}

// wantedSum returns the checksum that the base must have, nil if any will do. An empty one
// is none: it comes from a command in its place that failed.
func (f contentFlags) wantedSum(cmd *cobra.Command) (*diskimage.Sum, error) {
	if !cmd.Flags().Changed("sha256") {
		return nil, nil
	}
	sum, err := diskimage.ParseSum(f.sum)
	if err != nil {
		return nil, usageError{err}
	}
	return &sum, nil
}

// sampleBase stands for the image that comes with this program.
const sampleBase = "sample"

// An input is what to open for an image.
type input struct {
	name   string    // a file's, or [diskimage.Stdin]
	stream io.Reader // what that stands for
	image  string    // what the image was published as, if known
	sum    *diskimage.Sum
	close  func() error
}

// openInput says what to open for an image: a file, standard input, the sample, or
// what comes from an address.
func openInput(cmd *cobra.Command, image string) (input, error) {
	none := func() error { return nil }
	switch {
	case image == sampleBase:
		return input{diskimage.Stdin, bytes.NewReader(sample.Image), sample.Name, nil, none}, nil
	case download.Is(image):
		return openDownload(cmd, image)
	}
	stdin, ok := cmd.InOrStdin().(*os.File)
	if image == diskimage.Stdin && ok && term.IsTerminal(int(stdin.Fd())) {
		return input{}, usagef("standard input is a terminal: want an image, as from \"curl URL | clusterctrl %s -\"", cmd.Name())
	}
	return input{image, cmd.InOrStdin(), "", nil, none}, nil
}

// openDownload starts to read an image from its address. If a checksum lies beside
// the image, the image must have it.
func openDownload(cmd *cobra.Command, address string) (input, error) {
	d, err := download.Open(cmd.Context(), address)
	if err != nil {
		return input{}, err
	}
	in := input{diskimage.Stdin, diskimage.Stream{Reader: d, Name: address}, d.Name(), nil, d.Close}
	text, err := d.Sum()
	if err != nil {
		return input{}, errors.Join(err, d.Close())
	}
	if text != "" {
		sum, err := diskimage.ParseSum(text)
		if err != nil {
			return input{}, errors.Join(err, d.Close())
		}
		in.sum = &sum
	}
	return in, nil
}

// sourceDate is the time that reproducible builds agree on, if one is set
// (reproducible-builds.org/specs/source-date-epoch).
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32) // to 2106; FAT ends in 2107
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970, %d at most", text, uint32(math.MaxUint32))
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// settings reads the settings file. Flags that are given win over it, and so do the
// overrides in more.
func (f contentFlags) settings(cmd *cobra.Command, base string, more override) (settings.Settings, error) {
	file := f.config
	if file == "" && base != diskimage.Stdin && base != sampleBase && !download.Is(base) {
		var err error
		if file, err = settings.Find(filepath.Dir(base)); err != nil {
			return settings.Settings{}, err
		}
	}
	s := settings.Default()
	if file != "" {
		var warnings []string
		var err error
		if s, warnings, err = settings.Load(file); err != nil {
			return s, err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "settings from", file)
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
		}
	}
	if err := f.override(cmd, &s, more); err != nil {
		return s, err
	}
	if err := s.Check(); err != nil {
		return s, usageError{err}
	}
	if s.User == "" && (s.Password != "" || s.PasswordHash != "") {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: the user with this password is %s: see --user\n", recipe.DefaultUser)
	}
	if len(s.AuthorizedKeys) > 0 && !s.SSH {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: authorized keys do nothing while the SSH server is off: see --ssh")
	}
	return s, nil
}

func (f contentFlags) override(cmd *cobra.Command, s *settings.Settings, more override) error {
	changed := cmd.Flags().Changed
	set := func(flag string, assign func()) {
		if changed(flag) {
			assign()
		}
	}
	more(s, set)
	set("user", func() { s.User = f.user })
	set("password-hash", func() { s.Password, s.PasswordHash = "", f.passwordHash })
	set("ssh", func() { s.SSH = f.ssh })
	set("serial-autologin", func() { s.SerialAutologin = f.autologin })
	set("grow", func() { s.Grow, s.GrowBy = f.grow, nil })
	set("gadget", func() { s.Gadget = f.gadget })
	set("network", func() { s.Network = f.network })
	set("wifi-country", func() { s.WifiCountry = f.country })
	set("timezone", func() { s.TimeZone = f.timeZone })
	set("locale", func() { s.Locale = f.locale })
	set("keyboard", func() { s.Keyboard = f.keyboard })
	if f.passwordFile != "" {
		line, err := readPassword(cmd, f.passwordFile, "Password: ", "Password again: ")
		if err != nil {
			return err
		}
		s.Password, s.PasswordHash = line, ""
	}
	for _, file := range f.keys {
		keys, err := readKeys(file)
		if err != nil {
			return err
		}
		s.AuthorizedKeys = append(s.AuthorizedKeys, keys...)
	}
	return nil
}

// stdinName stands for standard input where a file is named.
const stdinName = "-"

// readPassword returns the first line of a file, or of standard input. On a terminal, it
// is typed as often as there are prompts.
func readPassword(cmd *cobra.Command, file string, prompts ...string) (string, error) {
	if file != stdinName {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		return firstLine(file, text)
	}
	if stdin, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(stdin.Fd())) {
		return askPassword(cmd, stdin, prompts)
	}
	const most = 4096 // bytes, of a line
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), most))
	if err != nil {
		return "", err
	}
	return firstLine("standard input", text)
}

// askPassword has a password typed on a terminal, which does not show it, once for each
// prompt.
func askPassword(cmd *cobra.Command, terminal *os.File, prompts []string) (string, error) {
	var password string
	for i, prompt := range prompts {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		text, err := readHidden(cmd.Context(), terminal)
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		line, err := firstLine("standard input", text)
		if err != nil {
			return "", err
		}
		if i > 0 && line != password {
			return "", errors.New("the two passwords differ: nothing was done")
		}
		password = line
	}
	return password, nil
}

// readHidden reads a line from a terminal, which does not show it. Where ctx ends before
// the line does, the terminal is as it was.
func readHidden(ctx context.Context, terminal *os.File) ([]byte, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}

func firstLine(file string, text []byte) (string, error) {
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", fmt.Errorf("%s: the first line is empty: want a password", file)
	}
	return line, nil
}

func readKeys(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var keys []string
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if !settings.IsKey(line) {
			return nil, fmt.Errorf("%s: line %d: want a public key, such as \"ssh-ed25519 AAAA... name\"", file, number)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no keys: want lines such as \"ssh-ed25519 AAAA... name\"", file)
	}
	return keys, nil
}
