// Package recipe says which edits turn a stock Raspberry Pi OS into a member of
// a cluster. It is where to look, and the only place to change, when a node or
// a controller should come out different.
//
// [Controller] makes an image out of a vendor's image: everything that all members
// share, with the network of a bridging controller, and the address of an unconfigured
// node on usb0. [Brand] gives a Pi with such an image a role, at first boot or whenever
// its role changes; it leaves nothing of an earlier role behind. The files that both
// write are in the directory files, under the names that they have on the Pi.
package recipe

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// Settings are what a user may choose for all members of a cluster.
type Settings struct {
	User            string // name of the first user, empty for the vendor's way
	PasswordHash    string // crypt(5) hash; never a password in clear; empty: only keys let User in
	SSH             bool
	AuthorizedKeys  []string // lines of an authorized_keys file, for User
	SerialAutologin bool     // log User in on the USB serial console, unasked
	Gadget          node.Gadget
	WifiCountry     string // ISO 3166 code, empty for none
	WifiSSID        string // of the network that a controller joins, empty for none
	WifiKey         string // its key, in hex
	TimeZone        string // in /usr/share/zoneinfo; empty: as the base has it, and so below
	Locale          string
	Keyboard        string // XKB layout
}

// A System is what the recipe has to know about the tree that it changes.
type System struct {
	rootfs.OS
	Settings
	Version string // of the program that builds the image; empty: the image does not say
}

//go:embed files
var files embed.FS

// facts are the words that the files refer to.
var facts = map[string]string{
	"Program":           node.Program,
	"Composite":         node.CompositePath,
	"RPIBootDir":        node.RPIBootDir,
	"Disks":             node.Disks,
	"Bridge":            node.Bridge,
	"InternalBridge":    node.InternalBridge,
	"Uplink":            node.Uplink,
	"PortsScript":       portsScript,
	"GadgetLink":        node.GadgetLink,
	"ControllerAddr":    node.ControllerAddr.String(),
	"ControllerNFSAddr": node.ControllerNFSAddr.String(),
	"VLAN":              fmt.Sprint(node.NFSVLAN),
	"VLANMTU":           fmt.Sprint(node.NFSMTU),
	"Link":              node.LinkPrefix,
	"USBBootLink":       node.USBBootLinkPrefix,
	"Port":              node.PortPrefix,
	"Vendor":            fmt.Sprintf("%04x", node.VendorID),
	"Products":          node.ProductPattern,
	"Serials":           node.SerialPattern,
	"Product":           node.Product,
	"USBBootProduct":    node.USBBootProduct,
	"SerialInterface":   fmt.Sprintf("%02x", node.SerialInterface),
	"AdminInterface":    fmt.Sprintf("%02x", node.AdminInterface),
}

// file returns the text of one of the files in the directory files.
func (s System) file(name string) string {
	text, err := fs.ReadFile(files, path.Join("files", name))
	if err != nil {
		panic(err) // the program was built with it
	}
	values := map[string]string{"Gadget": string(s.Gadget), "NetworkManager": ""}
	if s.Network == rootfs.NetworkManager {
		values["NetworkManager"] = "yes"
	}
	for name, fact := range facts {
		values[name] = fact
	}
	var b bytes.Buffer
	t := template.Must(template.New(name).Option("missingkey=error").Parse(string(text)))
	if err := t.Execute(&b, values); err != nil {
		panic(err)
	}
	return b.String()
}

// inTree returns the name in a tree of what has path on the Pi.
func inTree(path string) string { return strings.TrimPrefix(path, "/") }

// lay returns the edits that lay down all of our files.
func (s System) lay() []edit.Edit {
	var edits []edit.Edit
	err := fs.WalkDir(files, "files", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name = strings.TrimPrefix(name, "files/")
			edits = append(edits, edit.WriteFile{Name: name, Data: s.file(name), Perm: 0o644})
		}
		return err
	})
	if err != nil {
		panic(err) // the program was built with them
	}
	return edits
}

// Units returns the unit files of systemd that all members have, by their names in a
// tree: for packages, which are made without one. A package's presets leave all units
// off; those that a role brings come before them.
func Units() map[string]string {
	units := map[string]string{
		"usr/lib/systemd/system-preset/60-clusterctrl.preset": "# A role enables what it needs.\ndisable clusterctrl-*.service\ndisable clusterctrl-*.path\n",
	}
	for _, e := range (System{}).lay() {
		if file, ok := e.(edit.WriteFile); ok && strings.HasPrefix(file.Name, "usr/lib/systemd/") {
			units[file.Name] = file.Data
		}
	}
	return units
}
