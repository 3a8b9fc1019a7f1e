package recipe

import (
	"io/fs"
	"path"
	"strconv"
	"strings"

	"clusterctrl/internal/tree/rootfs"
	"go.yaml.in/yaml/v3"
)

// Locked is in the place of a password's hash where no password lets a user in
// (shadow(5)).
const Locked = "*"

// An Access says who can log in to the Pi of a tree.
type Access struct {
	User     string `json:"user"`     // empty if there is none
	Password bool   `json:"password"` // the user has one
	Keys     bool   `json:"keys"`     // SSH keys let the user in
	SSH      bool   `json:"ssh"`      // the SSH server is on, or the first boot turns it on
	// Customised is whether a script of Raspberry Pi Imager is still to set up a user.
	Customised bool `json:"customised"`
}

// IsOpen reports whether anybody can log in: with a password on a console, or with a
// key over SSH.
func (a Access) IsOpen() bool {
	return a.User != "" && (a.Password || a.Keys && a.SSH) || a.Customised
}

// AccessOf finds out who can log in to a tree, once its first boots are over.
func AccessOf(tree fs.FS, system rootfs.OS) Access {
	var a Access
	a.User, a.Password = pendingUser(tree, system.BootDir)
	if a.User == "" {
		a.User, a.Password = presentUser(tree)
	}
	if a.User != "" {
		a.Keys = exists(tree, keysOf(a.User)) || exists(tree, path.Join("home", a.User, ".ssh/authorized_keys"))
	}
	a.Keys = a.Keys || cloudKeys(tree, system.BootDir)
	for _, name := range []string{
		path.Join(system.BootDir, "ssh"), path.Join(system.BootDir, "ssh.txt"),
		"etc/systemd/system/multi-user.target.wants/ssh.service", "etc/systemd/system/sockets.target.wants/ssh.socket",
	} {
		a.SSH = a.SSH || isThere(tree, name)
	}
	for _, name := range []string{"firstrun.sh", "custom.toml"} {
		a.Customised = a.Customised || exists(tree, path.Join(system.BootDir, name))
	}
	return a
}

// keysOf is the file that a build writes a user's keys to. They are not in the home
// directory, which the vendor's first boot renames.
func keysOf(user string) string { return "etc/ssh/authorized_keys.d/" + user }

func exists(tree fs.FS, name string) bool {
	_, err := fs.Stat(tree, name)
	return err == nil
}

// isThere is exists, but does not follow a link, which may lead out of the tree.
func isThere(tree fs.FS, name string) bool {
	_, err := fs.Lstat(tree, name)
	return err == nil
}

// pendingUser returns the user whom the vendor's first boot sets up.
func pendingUser(tree fs.FS, bootDir string) (name string, password bool) {
	for _, file := range []string{"userconf", "userconf.txt"} {
		text, err := rootfs.ReadText(tree, path.Join(bootDir, file))
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(string(text), "\n")
		name, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		return name, unlocks(hash)
	}
	for _, user := range cloudUsers(tree, bootDir) {
		hash := user.Passwd + user.HashedPasswd
		return user.Name, user.PlainText != "" || unlocks(hash) && (user.Locked == nil || !*user.Locked)
	}
	return "", false
}

// A cloudEntry is a user in cloud-init's user-data.
type cloudEntry struct {
	Name         string   `yaml:"name"`
	Passwd       string   `yaml:"passwd"`
	HashedPasswd string   `yaml:"hashed_passwd"`
	PlainText    string   `yaml:"plain_text_passwd"`
	Locked       *bool    `yaml:"lock_passwd"`
	Keys         []string `yaml:"ssh_authorized_keys"`
}

// cloudUsers returns the users that user-data names: in a list, among whom "default" is
// a word for the distribution's own, or, as Raspberry Pi Imager writes it, alone. What
// does not decode names none: cloud-init takes no user from that either.
func cloudUsers(tree fs.FS, bootDir string) (users []cloudEntry) {
	text, err := rootfs.ReadText(tree, path.Join(bootDir, "user-data"))
	if err != nil {
		return nil
	}
	var data struct {
		User  yaml.Node   `yaml:"user"`
		Users []yaml.Node `yaml:"users"`
	}
	if yaml.Unmarshal(text, &data) != nil {
		return nil
	}
	for _, n := range append(data.Users, data.User) {
		var user cloudEntry
		if n.Kind == yaml.MappingNode && n.Decode(&user) == nil && user.Name != "" {
			users = append(users, user)
		}
	}
	return users
}

func cloudKeys(tree fs.FS, bootDir string) bool {
	for _, user := range cloudUsers(tree, bootDir) {
		if len(user.Keys) > 0 {
			return true
		}
	}
	return false
}

// presentUser returns the first ordinary user in the tree whom a password lets in, or
// whose keys are there.
func presentUser(tree fs.FS) (name string, password bool) {
	hashes := map[string]string{}
	for fields := range entries(tree, "etc/shadow") {
		hashes[fields[0]] = fields[1]
	}
	for fields := range entries(tree, "etc/passwd") {
		const first, last = 1000, 59999 // of those that people get (adduser.conf(5))
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.Atoi(fields[2])
		if err != nil || id < first || id > last {
			continue
		}
		name := fields[0]
		if unlocks(hashes[name]) {
			return name, true
		}
		if exists(tree, keysOf(name)) || exists(tree, path.Join("home", name, ".ssh/authorized_keys")) {
			return name, false
		}
	}
	return "", false
}

// HasUser reports whether a user of a name is in the tree.
func HasUser(tree fs.FS, name string) bool {
	for fields := range entries(tree, "etc/passwd") {
		if fields[0] == name {
			return true
		}
	}
	return false
}

// entries walks the lines of a file such as passwd(5), each as its fields, two at least.
// A file that is not there or not to be read has none.
func entries(tree fs.FS, name string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		text, err := rootfs.ReadText(tree, name)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) > 1 && !yield(fields) {
				return
			}
		}
	}
}

// unlocks reports whether a password can match a hash of crypt(5).
func unlocks(hash string) bool { return hash != "" && hash[0] != '*' && hash[0] != '!' }
