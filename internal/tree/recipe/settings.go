package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// DefaultUser is the first user of an image whose owner names no other.
const DefaultUser = "pi"

// settings returns the edits that carry out what the user chose.
func (s System) settings() []edit.Edit {
	var edits []edit.Edit
	if s.PasswordHash != "" || s.User != "" {
		edits = append(edits, s.firstUser(cmp.Or(s.PasswordHash, Locked)))
	}
	if s.SSH {
		edits = append(edits, edit.WriteFile{Name: path.Join(s.BootDir, "ssh")})
	}
	if len(s.AuthorizedKeys) > 0 {
		edits = append(edits,
			edit.WriteFile{
				Name: keysOf(s.user()),
				Data: strings.Join(s.AuthorizedKeys, "\n") + "\n",
				Perm: 0o644,
			},
			edit.Line{
				Name:   sshdConfig(s.Release),
				Prefix: "AuthorizedKeysFile",
				Text:   "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u",
			})
	}
	if s.SerialAutologin {
		edits = append(edits, edit.WriteFile{
			Name: "etc/systemd/system/" + consoleUnit + ".d/20-autologin.conf",
			Data: fmt.Sprintf("[Service]\nExecStart=\nExecStart=-/sbin/agetty --wait-cr --autologin %s --keep-baud 115200,57600,38400,9600 %%I $TERM\n", s.user()),
			Perm: 0o644,
		})
	}
	if s.WifiCountry != "" {
		edits = append(edits, wifiCountry{s.BootDir, s.WifiCountry})
	}
	if s.WifiSSID != "" {
		edits = append(edits, s.wifi()...)
	}
	return append(edits, s.place()...)
}

func (s System) user() string { return cmp.Or(s.User, DefaultUser) }

// sshdConfig is where to set an option of the SSH server. Buster's reads no
// other file than the one.
func sshdConfig(release string) string {
	if release == "buster" {
		return "etc/ssh/sshd_config"
	}
	return "etc/ssh/sshd_config.d/clusterctrl.conf"
}

// firstUser makes the first user, with the hash of a password or [Locked], in the way that
// the release knows.
func (s System) firstUser(hash string) edit.Edit {
	switch {
	case s.CloudInit:
		return cloudUser{path.Join(s.BootDir, "user-data"), s.user(), hash}
	case s.Release == "buster":
		return shadowPassword{s.user(), hash}
	}
	return edit.WriteFile{Name: path.Join(s.BootDir, "userconf.txt"), Data: s.user() + ":" + hash + "\n"}
}

// shadowPassword sets the password of a user whom the vendor made.
type shadowPassword struct{ user, hash string }

func (p shadowPassword) String() string { return "set the password of " + p.user }

func (p shadowPassword) Apply(tree rootfs.Tree) error {
	text, err := rootfs.ReadText(tree, "etc/shadow")
	if err != nil {
		return err
	}
	var lines []string
	found := false
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if fields[0] == p.user && len(fields) > 2 {
			found = true
			fields[1] = p.hash
		}
		lines = append(lines, strings.Join(fields, ":"))
	}
	if !found {
		return fmt.Errorf("etc/shadow has no user %q: this release comes with one user, %s", p.user, DefaultUser)
	}
	return edit.WriteFile{Name: "etc/shadow", Data: strings.Join(lines, "")}.Apply(tree)
}

// createSettings makes the settings file where there is none, from the template
// that the image was built with.
type createSettings struct{}

const settingsTemplate = "usr/share/clusterctrl/default-clusterctrl"

func (createSettings) String() string { return "create " + inTree(node.SettingsFile) }

func (createSettings) Apply(tree rootfs.Tree) error {
	name := inTree(node.SettingsFile)
	if _, err := tree.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	template, err := rootfs.ReadText(tree, settingsTemplate)
	if err != nil {
		return err
	}
	return edit.WriteFile{Name: name, Data: string(template), Perm: 0o644}.Apply(tree)
}

// wifiCountry tells the kernel by which country's rules it may use the air.
type wifiCountry struct{ bootDir, country string }

func (w wifiCountry) String() string { return "set the Wi-Fi country " + w.country }

func (w wifiCountry) Apply(tree rootfs.Tree) error {
	const key = "cfg80211.ieee80211_regdom="
	name := path.Join(w.bootDir, rootfs.CommandLine)
	words, text, err := readCommandLine(tree, name)
	if err != nil {
		return err
	}
	var kept edit.CommandLine
	for _, word := range words {
		if !strings.HasPrefix(word, key) {
			kept = append(kept, word)
		}
	}
	return writeCommandLine(tree, name, text, append(kept, key+w.country).String())
}
