package boot_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/internal/tree/rootfs"
)

// What a user typed in Raspberry Pi Imager, for all the cards.
const (
	typedName     = "mypi"
	typedUser     = "anna"
	typedPassword = "correct horse"
)

// A customisation is what Raspberry Pi Imager, or a user by hand, put beside an image
// after it was written to a card. The zero one is none.
type customisation string

const (
	firstrun   customisation = "firstrun.sh" // Imager's format "systemd"
	customTOML customisation = "custom.toml"
	cloudinit  customisation = "cloudinit-rpi"
)

// secrets are what a customisation lets a user in with.
type secrets struct {
	hash              string // of typedPassword
	privateKey        []byte // that is let in
	authorisedKeyLine string
}

func makeSecrets(t *testing.T) secrets {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "anna", "-f", key)
	private, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	hash := run(t, "openssl", "passwd", "-6", typedPassword)
	return secrets{strings.TrimSpace(hash), private, strings.TrimSpace(string(public))}
}

// apply does to a card what Imager does, behind all words of the command line.
func (c customisation) apply(tree *rootfs.Image, s secrets) error {
	if c == "" {
		return nil
	}
	files, words := map[string]string{}, ""
	switch c {
	case firstrun:
		files["firstrun.sh"] = fmt.Sprintf(firstrunScript, typedName, typedUser, s.hash, s.authorisedKeyLine)
		words = " systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
	case customTOML:
		files["custom.toml"] = fmt.Sprintf(tomlFile, typedName, typedUser, s.hash, s.authorisedKeyLine)
	case cloudinit:
		files["user-data"] = fmt.Sprintf(userData, typedName, typedUser, s.hash, s.authorisedKeyLine)
		files["meta-data"] = "instance-id: rpi-imager-1764200000000\n"
		words = " ds=nocloud;i=rpi-imager-1764200000000"
	}
	boot := path.Dir(tree.CommandLine())
	for name, text := range files {
		if err := tree.WriteFile(path.Join(boot, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	line, err := fs.ReadFile(tree, tree.CommandLine())
	if err != nil {
		return err
	}
	if err := tree.WriteFile(tree.CommandLine(), []byte(strings.TrimRight(string(line), " \n")+words+"\n"), 0o755); err != nil {
		return err
	}
	return tree.WriteFile("root/key", s.privateKey, 0o600)
}

// name is what a member of the cluster is called in the end: a node by its number, a
// controller as its owner typed, where the release can know.
func (c customisation) name(role string) string {
	if strings.HasPrefix(role, "c") && (c == firstrun || c == customTOML) {
		return typedName
	}
	return role
}

// questions are about what was typed, which stays.
func (c customisation) questions(role string) []question {
	if c == "" {
		return nil
	}
	all := []question{
		{"su nobody -s /bin/sh -c \"echo '" + typedPassword + "' | su " + typedUser + " -c 'id -un'\" 2>/dev/null", typedUser + `\n`},
		{"systemctl is-active ssh.service", `active\n`},
		{"ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR " + typedUser + "@127.0.0.1 id -un", typedUser + `\n`},
		{"ls /boot/firmware/firstrun.sh /boot/firmware/custom.toml 2>/dev/null; grep -c systemd.run /boot/firmware/cmdline.txt", `0\n`},
		{"ls /var/lib/vendor-gadget.log 2>/dev/null", ``},
	}
	if c != cloudinit {
		all = append(all, question{"id -nu 1000; getent passwd pi", typedUser + `\n`}) // it was pi
	}
	if c != cloudinit && c.name(role) == role {
		all = append(all, question{"journalctl -b -u clusterctrl-name.service -o cat | grep aside", `set the name mypi aside: this node's is ROLE, by its number\n`})
	}
	if c == cloudinit {
		all = append(all, question{"cloud-init status | head -n 1", `status: done\n`})
	}
	return all
}

const firstrunScript = `#!/bin/bash
# What Raspberry Pi Imager writes in its format "systemd", by what it does.
set +e
/usr/lib/raspberrypi-sys-mods/imager_custom set_hostname %s
/usr/lib/userconf-pi/userconf %s '%s'
/usr/lib/raspberrypi-sys-mods/imager_custom enable_ssh '%s'
/usr/lib/raspberrypi-sys-mods/imager_custom set_timezone Europe/London
rm -f /boot/firmware/firstrun.sh
sed -i 's| systemd.run.*||' /boot/firmware/cmdline.txt
exit 0
`

const tomlFile = `config_version = 1

[system]
hostname = "%s"

[user]
name = "%s"
password = "%s"
password_encrypted = true

[ssh]
enabled = true
password_authentication = true
authorized_keys = [ "%s" ]

[locale]
timezone = "Europe/London"
`

const userData = `#cloud-config
hostname: %s
manage_etc_hosts: true

timezone: Europe/London

user:
  name: %s
  passwd: "%s"
  lock_passwd: false
  shell: /bin/bash
  ssh_authorized_keys:
    - %s
  sudo: null

ssh_pwauth: true

rpi:
  enable_usb_gadget: true

runcmd:
- [ systemctl, enable, --now, --no-block, ssh ]
`
