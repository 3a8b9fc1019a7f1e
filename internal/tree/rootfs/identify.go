package rootfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// An OS is what kind of Raspberry Pi OS a tree holds.
type OS struct {
	Release   string         `json:"release"` // codename, such as "bookworm"
	Arch      Arch           `json:"arch"`
	Flavour   Flavour        `json:"flavour"`
	BootDir   string         `json:"boot"` // where the boot partition is mounted, such as "boot/firmware"
	Network   NetworkProgram `json:"network"`
	CloudInit bool           `json:"cloud_init"`

	// Built is the day on which the vendor made the image, zero if it does not
	// say.
	Built time.Time `json:"-"`
}

// Arch is an architecture as Debian calls it.
type Arch string

// The architectures of Raspberry Pi OS.
const (
	ARMHF Arch = "armhf"
	ARM64 Arch = "arm64"
)

// MaxCommandLine is the longest command line, in bytes, that the kernel takes
// (COMMAND_LINE_SIZE less the final zero).
func (a Arch) MaxCommandLine() int {
	if a == ARM64 {
		return 2047
	}
	return 1023
}

// A Flavour is how much software an image comes with.
type Flavour string

// The flavours of Raspberry Pi OS.
const (
	Lite     Flavour = "lite"
	Standard Flavour = "standard"
	Full     Flavour = "full"
)

// A NetworkProgram configures the network interfaces of a system.
type NetworkProgram string

// The network programs of Raspberry Pi OS: dhcpcd up to Bullseye,
// NetworkManager since, ifupdown with dhclient where it was added.
const (
	DHCPCD         NetworkProgram = "dhcpcd"
	IfUpDown       NetworkProgram = "ifupdown"
	NetworkManager NetworkProgram = "networkmanager"
)

// NetworkPrograms are all of them, the oldest first.
var NetworkPrograms = []NetworkProgram{DHCPCD, IfUpDown, NetworkManager}

// releases are the codenames we know, with the version of Debian.
var releases = map[string]string{
	"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie",
}

// Identify finds out what a tree holds by looking inside. It refuses what is
// not Raspberry Pi OS, or Debian laid out like it, of a release it knows.
func Identify(tree fs.ReadLinkFS) (OS, error) {
	var (
		system OS
		err    error
	)
	if system.Release, err = release(tree); err != nil {
		return OS{}, err
	}
	if system.BootDir, err = BootDir(tree); err != nil {
		return OS{}, err
	}
	if system.Arch, err = arch(tree); err != nil {
		return OS{}, err
	}
	if system.Network, err = network(tree); err != nil {
		return OS{}, err
	}
	system.Flavour, system.Built = origin(tree)
	system.CloudInit = exists(tree, "usr/bin/cloud-init")
	return system, nil
}

func exists(tree fs.FS, name string) bool {
	_, err := fs.Stat(tree, name)
	return err == nil
}

// release reads os-release(5). /etc/os-release is a link to the file in /usr.
func release(tree fs.FS) (string, error) {
	text, err := ReadText(tree, "etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("no etc/os-release in the root partition: want a Raspberry Pi OS image")
	}
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	if id := values["ID"]; id != "raspbian" && id != "debian" {
		return "", fmt.Errorf("etc/os-release: the system is %q: want raspbian or debian", id)
	}
	name, ok := releases[values["VERSION_ID"]]
	if !ok {
		return "", fmt.Errorf("etc/os-release: version %q %s: want 10 to 13, Buster to Trixie", values["VERSION_ID"], values["VERSION_CODENAME"])
	}
	return name, nil
}

// arch asks the header of a program that every Debian system has. The 64-bit
// kernel of 32-bit images makes uname no guide.
func arch(tree fs.FS) (Arch, error) {
	const program = "bin/sh"
	head, err := readHead(tree, program, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no %s in the root partition: want a Raspberry Pi OS image", program)
	}
	if err != nil {
		return "", err
	}
	// Of elf(5): where a header says what machine it is for, and the numbers.
	const magic, at, arm, aarch64 = "\x7fELF", 18, 40, 183
	if !bytes.HasPrefix(head, []byte(magic)) || len(head) < at+2 {
		return "", fmt.Errorf("%s is no ELF program: want a system for ARM or AArch64", program)
	}
	switch machine := binary.LittleEndian.Uint16(head[at:]); machine {
	case arm:
		return ARMHF, nil
	case aarch64:
		return ARM64, nil
	default:
		return "", fmt.Errorf("%s is built for ELF machine %d: want a system for ARM (%d) or AArch64 (%d)", program, machine, arm, aarch64)
	}
}

func readHead(tree fs.FS, name string, n int64) ([]byte, error) {
	f, err := openRegular(tree, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// openRegular opens a regular file. In a tree that a node can write, opening another one
// could wait for ever, or have a device do something.
func openRegular(tree fs.FS, name string) (fs.File, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(name, info)
	}
	return tree.Open(name)
}

// network returns the program that will configure the network at boot: an
// enabled one, and NetworkManager before dhcpcd before ifupdown, as each of
// these took over from the next.
func network(tree fs.ReadLinkFS) (NetworkProgram, error) {
	for _, p := range []NetworkProgram{NetworkManager, DHCPCD, IfUpDown} {
		if p.Installed(tree) && p.enabled(tree) {
			return p, nil
		}
	}
	return "", errors.New("no network program that we know is enabled: want NetworkManager, dhcpcd, or ifupdown with dhclient")
}

// networkPrograms says by what a network program is recognized: the files that it
// is installed with, and the unit that starts it, if it has one.
var networkPrograms = map[NetworkProgram]struct {
	files []string
	unit  string
}{
	NetworkManager: {[]string{"usr/sbin/NetworkManager"}, "NetworkManager.service"},
	DHCPCD:         {[]string{"etc/dhcpcd.conf"}, "dhcpcd.service"},
	IfUpDown:       {[]string{"etc/dhcp/dhclient.conf", "etc/network/interfaces"}, ""},
}

// enabled reports whether the system starts the program. A program without a unit is
// started by other programs.
func (p NetworkProgram) enabled(tree fs.ReadLinkFS) bool {
	unit := networkPrograms[p].unit
	if unit == "" {
		return true
	}
	_, err := tree.Lstat(path.Join("etc/systemd/system/multi-user.target.wants", unit))
	return err == nil
}

// Installed reports whether tree has the program.
func (p NetworkProgram) Installed(tree fs.FS) bool {
	program, known := networkPrograms[p]
	for _, file := range program.files {
		if !exists(tree, file) {
			return false
		}
	}
	return known
}

// origin reads flavour and date from /etc/rpi-issue, the note that Raspberry
// Pi's image builder leaves: stage 2 is lite, 4 standard, 5 full. Without it
// the installed packages tell the flavour.
func origin(tree fs.FS) (Flavour, time.Time) {
	note, _ := ReadText(tree, "etc/rpi-issue")
	_, date, _ := strings.Cut(string(note), "reference ")
	built, _ := time.Parse(time.DateOnly, date[:min(len(date), len(time.DateOnly))])
	_, stage, _ := strings.Cut(string(note), ", stage")
	switch stage[:min(len(stage), 1)] {
	case "2":
		return Lite, built
	case "4":
		return Standard, built
	case "5":
		return Full, built
	}
	return flavourByPackages(tree), built
}

func flavourByPackages(tree fs.FS) Flavour {
	status, err := openRegular(tree, "var/lib/dpkg/status")
	if err != nil {
		return Lite
	}
	defer status.Close()
	flavour := Lite
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		switch lines.Text() {
		case "Package: libreoffice", "Package: libreoffice-core", "Package: mathematica-init":
			return Full
		case "Package: lightdm", "Package: raspberrypi-ui-mods":
			flavour = Standard
		}
	}
	return flavour
}
