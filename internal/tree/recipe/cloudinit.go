package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"

	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
	"go.yaml.in/yaml/v3"
)

// cloudUser adds a user to cloud-init's user-data, or gives a user who is there a new
// password. The rest of the file stays, its comments too.
type cloudUser struct{ file, name, hash string }

func (c cloudUser) String() string { return fmt.Sprintf("add user %s to %s", c.name, c.file) }

const cloudHeader = "#cloud-config\n"

func (c cloudUser) Apply(tree rootfs.Tree) error {
	old, err := rootfs.ReadText(tree, c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := c.merge(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	return edit.WriteFile{Name: c.file, Data: text}.Apply(tree)
}

func (c cloudUser) merge(text string) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	if doc.Kind == 0 { // comments alone
		if !strings.HasPrefix(text, cloudHeader) {
			text = cloudHeader + text
		}
		out, err := yaml.Marshal(map[string]any{"users": []map[string]any{c.entry()}})
		return strings.TrimRight(text, "\n") + "\n\n" + string(out), err
	}
	if !strings.HasPrefix(text, "#cloud-config") {
		return "", errors.New("it does not start with #cloud-config: want a cloud config, or comments alone")
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return "", errors.New("it is no mapping: want a cloud config, or comments alone")
	}
	if err := c.setIn(root); err != nil {
		return "", err
	}
	out, err := yaml.Marshal(&doc)
	return string(out), err
}

// setIn adds the user to the list "users" of a cloud config.
func (c cloudUser) setIn(root *yaml.Node) error {
	users := mapValue(root, "users")
	if users == nil {
		users = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "users"}, users)
	}
	if users.Tag == "!!null" {
		// Without a list cloud-init makes its default user, which other keys of
		// the file may be about.
		*users = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "default"}}}
	}
	if users.Kind != yaml.SequenceNode {
		return errors.New("users is no list")
	}
	for _, user := range users.Content {
		if name := mapValue(user, "name"); name != nil && name.Value == c.name {
			return c.setPassword(user)
		}
	}
	var user yaml.Node
	if err := user.Encode(c.entry()); err != nil {
		return err
	}
	users.Content = append(users.Content, &user)
	return nil
}

// cloudName has cloud-init leave alone the name that a Pi got from its role. Where
// user-data names the Pi otherwise, it wins over cloud-init's own settings, so it is
// changed. Raspberry Pi Imager writes such lines, after the image was built.
type cloudName struct{ file, name string }

func (c cloudName) String() string { return fmt.Sprintf("set the name %s in %s", c.name, c.file) }

var cloudNameLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^(hostname|fqdn|manage_etc_hosts|preserve_hostname)[ \t]*:.*$`)
})

func (c cloudName) Apply(tree rootfs.Tree) error {
	old, err := rootfs.ReadText(tree, c.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(old), "#cloud-config") {
		return nil
	}
	if err != nil {
		return err
	}
	text := cloudNameLine().ReplaceAllStringFunc(string(old), func(line string) string {
		key, _, _ := strings.Cut(line, ":")
		switch key = strings.TrimSpace(key); key {
		case "manage_etc_hosts":
			return key + ": false"
		case "preserve_hostname":
			return key + ": true"
		}
		return key + ": " + c.name
	})
	if text == string(old) {
		return nil
	}
	return edit.WriteFile{Name: c.file, Data: text}.Apply(tree)
}

// cloudGadget has cloud-init leave the vendor's gadget off: that gadget would take the
// device controller from a node's gadget, and make a cluster's controller a USB device.
// Raspberry Pi Imager writes enable_usb_gadget where its user asks for it.
type cloudGadget struct{ file string }

func (c cloudGadget) String() string { return "keep the vendor's USB gadget off in " + c.file }

var cloudGadgetKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^([^#\n]*\benable_usb_gadget["']?[ \t]*:[ \t]+)[^\s,}#]+`)
})

func (c cloudGadget) Apply(tree rootfs.Tree) error {
	old, err := rootfs.ReadText(tree, c.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(old), "#cloud-config") {
		return nil
	}
	if err != nil {
		return err
	}
	text := cloudGadgetKey().ReplaceAllString(string(old), "${1}false")
	if text == string(old) {
		return nil
	}
	return edit.WriteFile{Name: c.file, Data: text}.Apply(tree)
}

func mapValue(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// setPassword gives a user of the list the password, or locks it, and removes the other
// keys for passwords, which would win over it. Cloud-init locks every user for whom the
// list does not say otherwise.
func (c cloudUser) setPassword(user *yaml.Node) error {
	for _, key := range []string{"plain_text_passwd", "hashed_passwd"} {
		dropKey(user, key)
	}
	if c.hash == Locked {
		dropKey(user, "passwd")
		return setValue(user, "lock_passwd", true)
	}
	return errors.Join(setValue(user, "passwd", c.hash), setValue(user, "lock_passwd", false))
}

func dropKey(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

func setValue(n *yaml.Node, key string, value any) error {
	var encoded yaml.Node
	if err := encoded.Encode(value); err != nil {
		return err
	}
	if v := mapValue(n, key); v != nil {
		*v = encoded
		return nil
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &encoded)
	return nil
}

// entry is the user as Raspberry Pi OS makes its first one.
func (c cloudUser) entry() map[string]any {
	entry := map[string]any{
		"name":        c.name,
		"lock_passwd": c.hash == Locked,
		"shell":       "/bin/bash",
		"sudo":        "ALL=(ALL) NOPASSWD:ALL",
		"groups":      "adm,dialout,cdrom,sudo,audio,video,plugdev,games,users,input,render,netdev,gpio,i2c,spi",
	}
	if c.hash != Locked {
		entry["passwd"] = c.hash
	}
	return entry
}
