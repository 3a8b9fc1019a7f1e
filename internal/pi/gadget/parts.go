package gadget

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"clusterctrl/internal/node"
)

// A part is one thing that a gadget is made of.
type part struct {
	kind  kind
	name  string // in the directory of gadgets
	value string // of an attribute as the kernel shows it, or where a link leads
}

type kind int

const (
	directory kind = iota
	attribute
	wish // an attribute that older kernels lack, which does no harm
	link
)

func (p part) String() string {
	switch p.kind {
	case attribute, wish:
		return fmt.Sprintf("set %s to %s", p.name, p.value)
	case link:
		return fmt.Sprintf("link %s to %s", p.name, p.value)
	}
	return "make " + p.name
}

// Directories of a gadget.
const (
	top       = node.GadgetName
	functions = top + "/functions"
	configs   = top + "/configs"
	config    = configs + "/c.1"
	osDesc    = top + "/os_desc"
	languages = top + "/strings"

	udcFile = top + "/UDC"
)

// gadgetOf lists the parts of a node's gadget in the order of their making.
func gadgetOf(s Settings) []part {
	network := functions + "/" + string(s.Gadget) + "." + node.GadgetLink
	serial := functions + "/acm." + node.GadgetLink
	language := fmt.Sprintf("%s/0x%x", languages, node.Language)
	return slices.Concat(
		[]part{
			{directory, top, ""},
			{attribute, top + "/idVendor", word(node.VendorID)},
			{attribute, top + "/idProduct", word(s.Gadget.ProductID())},
			{attribute, top + "/bcdDevice", word(node.DeviceRelease)},
			{attribute, top + "/bcdUSB", word(node.USBRelease)},
			{attribute, top + "/bDeviceClass", octet(node.DeviceClass)},
			{attribute, top + "/bDeviceSubClass", octet(node.DeviceSubClass)},
			{attribute, top + "/bDeviceProtocol", octet(node.DeviceProtocol)},
			{directory, language, ""},
			{attribute, language + "/manufacturer", node.Manufacturer},
			{attribute, language + "/product", s.product()},
			{attribute, language + "/serialnumber", strconv.Itoa(int(s.ID))},
			{directory, network, ""},
			{attribute, network + "/host_addr", s.ID.HostMAC()},
			{attribute, network + "/dev_addr", s.ID.DevMAC()},
			{directory, serial, ""},
			{directory, config, ""},
			{attribute, config + "/MaxPower", strconv.Itoa(node.MaxPower)},
		},
		microsoftParts(s.Gadget, network),
		[]part{ // the order of these two numbers the device's interfaces
			{link, config + "/" + string(s.Gadget) + "." + node.GadgetLink, network},
			{link, config + "/acm." + node.GadgetLink, serial},
		},
	)
}

// microsoftParts are the descriptors for Windows. Older kernels have no
// compatible id of NCM: with those, users of Windows must choose the driver by hand.
func microsoftParts(f node.Gadget, network string) []part {
	d := f.Microsoft()
	if d == (node.MicrosoftDescriptor{}) {
		return nil
	}
	ours := fmt.Sprintf("%s/os_desc/interface.%s/", network, f)
	parts := []part{
		{attribute, osDesc + "/use", "1"},
		{attribute, osDesc + "/b_vendor_code", octet(d.VendorCode)},
		{attribute, osDesc + "/qw_sign", node.MicrosoftSignature},
		{wish, ours + "compatible_id", d.CompatibleID},
	}
	if d.SubCompatibleID != "" {
		parts = append(parts, part{wish, ours + "sub_compatible_id", d.SubCompatibleID})
	}
	return append(parts, part{link, osDesc + "/c.1", config})
}

func word(v uint16) string { return fmt.Sprintf("0x%04x", v) }
func octet(v uint8) string { return fmt.Sprintf("0x%02x", v) }

// make makes a part of a gadget that has all parts in front of it.
func (p part) make(tree gadgets) error {
	switch p.kind {
	case attribute:
		return tree.Write(p.name, p.value)
	case wish:
		if ok, err := exists(tree, p.name); !ok {
			return err
		}
		return tree.Write(p.name, p.value)
	case link:
		return tree.Symlink(p.value, p.name)
	}
	return tree.Mkdir(p.name)
}

// there tells whether a gadget has a part.
func (p part) there(tree gadgets) (bool, error) {
	ok, err := exists(tree, p.name)
	switch {
	case !ok:
		return p.kind == wish && err == nil, err
	case p.kind == directory || p.kind == link:
		return true, nil
	}
	value, err := readAttribute(tree, p.name)
	return sameValue(value, p.value), err
}

func exists(tree gadgets, name string) (bool, error) {
	_, err := tree.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readAttribute returns what an attribute says, nothing if there is none.
// Texts of fixed length come with NULs behind them.
func readAttribute(tree gadgets, name string) (string, error) {
	text, err := tree.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimRight(string(text), "\n\x00"), err
}

// sameValue compares numbers as such: kernels differ in how they show them.
// Those whose characters are signed show an octet from 0x80 on as a negative
// word.
func sameValue(got, want string) bool {
	g, errGot := strconv.ParseUint(got, 0, 32)
	w, errWant := strconv.ParseUint(want, 0, 16)
	if errGot != nil || errWant != nil {
		return got == want
	}
	return g == w || w <= 0xff && uint32(g) == uint32(int8(w))
}
