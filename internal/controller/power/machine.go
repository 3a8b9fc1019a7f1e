package power

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"clusterctrl/internal/node"
)

// A Machine is where boards are looked for.
type Machine struct {
	Files     fs.FS // all of its files: /proc, /dev and /sys among them
	OpenBus   func(device string) (Bus, error)
	OpenLines func() (Lines, error)
	// Show, where it is set, gets each write to a board, in place of the board.
	Show func(board, what string)
}

// Fields of a ClusterHAT's EEPROM, by the kernel's names for them.
const (
	hatDir     = "proc/device-tree/hat"
	hatProduct = "ZC4:ClusterHAT"
)

// hatBus is the I2C bus that a ClusterHAT's expander is on: GPIO 2 and 3.
const hatBus = 1

// ctrlLink begins the name of the link in /dev to the bus of a ClusterCTRL board, which
// udev's rules make.
const ctrlLink = "ClusterCTRL-"

// Boards returns all boards, ready to be used. It writes nothing to them.
func (m Machine) Boards(o Options) (boards Boards, err error) {
	defer func() {
		if err != nil {
			boards.Close()
			boards = nil
		}
	}()
	hat, err := m.hat(o)
	if err != nil {
		return boards, err
	}
	if hat != nil {
		boards = Boards{hat}
	}
	ctrls, err := m.ctrls()
	for _, b := range ctrls {
		boards = append(boards, b)
	}
	if err == nil && boards.MaxNodes() > int(node.MaxID) {
		err = fmt.Errorf("the boards have room for %d nodes: want at most %d", boards.MaxNodes(), node.MaxID)
	}
	return boards, err
}

// hat returns the ClusterHAT, nil if there is none.
func (m Machine) hat(o Options) (Board, error) {
	h := hat{version: o.Force, size: o.Size, pause: time.Sleep, eeprom: m.eeprom()}
	if h.version == (Version{}) {
		if h.eeprom["product"] != hatProduct {
			return nil, nil
		}
		var err error
		if h.version, err = parseProductVersion(h.eeprom["product_ver"]); err != nil {
			return nil, err
		}
	}
	if h.version.Major == 1 {
		h.hubPath = o.HubPath
		p := &pins{hat: h}
		if m.Show != nil {
			p.show = func(line int, level bool) { m.Show(p.String(), fmt.Sprintf("GPIO %d = %d", line, digit(level))) }
		}
		var err error
		if p.lines, err = m.OpenLines(); err != nil {
			return nil, fmt.Errorf("%v: %w", p, err)
		}
		return p, nil
	}
	h.hubPath = m.hubPath()
	e := &expander{hat: h}
	var err error
	if e.chip, err = m.chip(fmt.Sprint("i2c-", hatBus), e); err != nil {
		return nil, fmt.Errorf("ClusterHAT v%v: %w", h.version, err)
	}
	return e, nil
}

func digit(level bool) int { return map[bool]int{true: 1}[level] }

// eeprom returns what the EEPROM of a HAT holds, by the names of its fields.
func (m Machine) eeprom() map[string]string {
	words := map[string]string{}
	for _, name := range []string{"product", "product_ver", "product_id", "uuid", "vendor"} {
		if text, err := fs.ReadFile(m.Files, path.Join(hatDir, name)); err == nil {
			words[name] = strings.TrimRight(string(text), "\x00\n")
		}
	}
	return words
}

// chip opens the bus that a board is on.
func (m Machine) chip(device string, b fmt.Stringer) (chip, error) {
	c := chip{place: device}
	if m.Show != nil {
		c.show = func(register, value byte) {
			m.Show(b.String(), fmt.Sprintf("register %#02x = %#02x", register, value))
		}
	}
	var err error
	c.Bus, err = m.OpenBus(device)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no /dev/%s: want I2C on, by dtparam=i2c_arm=on or dtoverlay=i2c-gpio in config.txt, and the module i2c-dev", device)
	}
	return c, err
}

// ctrls returns the ClusterCTRL boards by order.
func (m Machine) ctrls() ([]*Ctrl, error) {
	links, err := fs.Glob(m.Files, "dev/"+ctrlLink+"*")
	if err != nil {
		return nil, err
	}
	var boards []*Ctrl
	for _, link := range links {
		b, err := m.ctrl(path.Base(link))
		if b != nil {
			boards = append(boards, b)
		}
		if err != nil {
			return boards, err
		}
	}
	slices.SortFunc(boards, func(a, b *Ctrl) int { return cmp.Compare(a.order, b.order) })
	for i, b := range boards[min(1, len(boards)):] {
		if other := boards[i]; b.order == other.order {
			return boards, fmt.Errorf("two boards of order %d, on %s and %s: unplug one, give the other another place (clusterctrl setorder %d %d, clusterctrl saveorder %[5]d), and plug it in again",
				b.order, other.chip.place, b.chip.place, b.order, b.order+1)
		}
	}
	return boards, nil
}

func (m Machine) ctrl(link string) (*Ctrl, error) {
	bus := "i2c-" + strings.TrimPrefix(link, ctrlLink)
	c := chip{place: bus}
	var err error
	if c.Bus, err = m.OpenBus(link); err != nil {
		return nil, fmt.Errorf("ClusterCTRL board (%s): %w", bus, err)
	}
	b, err := openCtrl(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	if m.Show != nil {
		b.chip.show = func(register, value byte) {
			m.Show(b.String(), fmt.Sprintf("register %#02x = %#02x", register, value))
		}
	}
	b.usbPath = m.usbPath(bus)
	return b, nil
}

// usbDevice matches the name of a USB device in /sys, which is its path.
var usbDevice = regexp.MustCompile(`^[0-9]+-[0-9]+(\.[0-9]+)*$`)

// usbPath returns the path of the USB device that an I2C bus belongs to.
func (m Machine) usbPath(bus string) string {
	target, err := fs.ReadLink(m.Files, path.Join("sys/bus/i2c/devices", bus))
	if err != nil {
		return ""
	}
	for _, name := range slices.Backward(strings.Split(target, "/")) {
		if usbDevice.MatchString(name) {
			return name
		}
	}
	return ""
}

// Revision is the code of the Pi's model and revision, from /proc/cpuinfo. It is empty if
// the machine is no Pi.
func (m Machine) Revision() string {
	code, err := fs.ReadFile(m.Files, "proc/device-tree/system/linux,revision")
	if err != nil || len(code) != 4 {
		return ""
	}
	return strconv.FormatUint(uint64(binary.BigEndian.Uint32(code)), 16)
}

// hatHubs are the USB identities of ClusterHATs' hubs. The last one is that of a common
// chip, which other hubs have too.
var hatHubs = []string{"3171:0040", "3171:0041", "05e3:0608"}

// hubPath returns the USB path of the ClusterHAT's hub, empty if there is no such hub or
// more than one.
func (m Machine) hubPath() string {
	found := map[string][]string{}
	devices, err := fs.ReadDir(m.Files, "sys/bus/usb/devices")
	if err != nil {
		return ""
	}
	for _, d := range devices {
		id := m.read("sys/bus/usb/devices", d.Name(), "idVendor") + ":" + m.read("sys/bus/usb/devices", d.Name(), "idProduct")
		found[id] = append(found[id], d.Name())
	}
	for _, id := range hatHubs {
		if len(found[id]) == 1 {
			return found[id][0]
		}
	}
	return ""
}

func (m Machine) read(name ...string) string {
	text, err := fs.ReadFile(m.Files, path.Join(name...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// SetLine has the Pi drive one of its own pins, by GPIO number.
func (m Machine) SetLine(line int, level bool) error {
	if m.Show != nil {
		m.Show("the controller", fmt.Sprintf("GPIO %d = %d", line, digit(level)))
		return nil
	}
	lines, err := m.OpenLines()
	if err != nil {
		return err
	}
	p := pins{lines: lines}
	defer p.Close()
	return p.set(line, level)
}
