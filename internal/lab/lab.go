// Package lab boots images on machines that QEMU emulates.
//
// QEMU has the boards of Raspberry Pis but not their firmware. So before every
// boot the package plays it: it finds kernel, initramfs, device tree and command
// line in the image's boot partition, by config.txt, and has QEMU start them. A
// [Machine.Boot] is one boot, from power on to power off, restart or power cut;
// after a restart the next Boot reads the boot partition again, in which the last
// one may have changed what is to be started.
//
//	m, err := lab.New(ctx, lab.Config{Model: "raspi3b", Image: "p1.img"})
//	boot, err := m.Boot(ctx)
//	_, err = boot.Expect(ctx, "first boot: done")
//	how, err := boot.Wait() // lab.Restarted
//	boot, err = m.Boot(ctx)
//	err = boot.Login(ctx, "pi", "raspberry")
//	output, status, err := boot.Run(ctx, "hostname")
//	how, err = boot.Cut()
//
// An image is copied first and the copy thrown away, unless [Config.InPlace] is
// set. When the power is cut, all writes that QEMU has received are in the file. So a
// cut here is kinder than a cut to a card; [Config.WriteLog] serves to play the others.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/image/diskimage"
)

// A Config says what machine to build.
type Config struct {
	Model   string // one of [Boards], or amd64 or arm64
	Image   string // of the card or disk; empty for none
	InPlace bool   // the machine writes to Image itself, not to a copy
	Dir     string // for the machine's files; empty for the system's directory for temporary files

	// What is below may be changed between boots.

	// Software is what the machine starts, if not what the image's boot
	// partition holds. Where it has no command line, the image's is taken.
	Software *Software

	// KernelArgs are further words for the kernel. They stand before most of the others;
	// of two words about the same thing, often the last counts.
	KernelArgs []string

	Transcript io.Writer // gets all that the console shows; may be nil

	// WriteLog is the file that gets a log of all the writes and flushes of the
	// next boot, in the format of dm-log-writes; empty for none. QEMU's SD cards know no
	// flushes: the log has flushes only of the machines amd64 and arm64.
	WriteLog string

	QEMU []string // further arguments for QEMU
}

// A Machine is a computer with its card, powered on by [Machine.Boot] and at
// most once at a time. Close it to get rid of it.
type Machine struct {
	Config
	model model
	dir   string // its path is short, as that of a socket must be
	card  string
	boot  *Boot // the last
}

// New builds a machine.
func New(ctx context.Context, c Config) (*Machine, error) {
	kind, err := findModel(c.Model)
	if err != nil {
		return nil, err
	}
	if c.Software == nil && kind.kernel == "" {
		return nil, fmt.Errorf("machine %q has no firmware to find a kernel: want Software", c.Model)
	}
	if c.Software == nil && c.Image == "" {
		return nil, fmt.Errorf("machine %q has nothing to start: want an Image or Software", c.Model)
	}
	m := &Machine{Config: c, model: kind}
	pattern := "clusterctrl-lab-"
	if c.Dir != "" {
		pattern = "" // the directory says whose it is, and paths of sockets are short
	}
	if m.dir, err = os.MkdirTemp(c.Dir, pattern); err != nil {
		return nil, err
	}
	if err := m.insertCard(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Card returns the file that the machine's writes go to. It holds still while
// the machine is off.
func (m *Machine) Card() string { return m.card }

// Close cuts the power and removes the machine's files.
func (m *Machine) Close() error {
	if m.boot != nil {
		m.boot.Cut() // the boot's Wait says how it ended
	}
	return os.RemoveAll(m.dir)
}

func (m *Machine) insertCard(ctx context.Context) error {
	if m.Image == "" {
		return nil
	}
	if m.InPlace {
		m.card = m.Image
		return m.checkSize()
	}
	in, err := diskimage.OpenRaw(m.Image)
	if err != nil {
		return err
	}
	defer in.Close()
	m.card = filepath.Join(m.dir, "card.img")
	f, err := os.OpenFile(m.card, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	out := &diskimage.Output{File: f, Final: f.Name()}
	return errors.Join(out.Clone(ctx, in.Raw(), nil), m.roundUp(f), f.Close())
}

// checkSize refuses a card that QEMU would not take.
func (m *Machine) checkSize() error {
	info, err := os.Stat(m.card)
	if err != nil {
		return err
	}
	if size := info.Size(); m.model.disk == "sd" && size != cardSize(size) {
		return fmt.Errorf("%s: %d bytes: want a power of two, %d, or a copy", m.card, size, cardSize(size))
	}
	return nil
}

// roundUp extends a card, as if the image had been written to a larger one.
func (m *Machine) roundUp(card *os.File) error {
	info, err := card.Stat()
	if err != nil || m.model.disk != "sd" {
		return err
	}
	return card.Truncate(cardSize(info.Size()))
}

// cardSize is the size of the smallest card that QEMU emulates, a power of two,
// that has room for size bytes.
func cardSize(size int64) int64 {
	card := int64(1) << 20
	for card < size {
		card <<= 1
	}
	return card
}

// software finds what the machine starts; dir is for what must be copied.
func (m *Machine) software(dir string) (Software, deviceTree, error) {
	if m.Software != nil {
		s := *m.Software
		if s.CommandLine == "" && m.card != "" {
			var err error
			if s.CommandLine, err = m.model.readLine(m.card); err != nil {
				return Software{}, deviceTree{}, fmt.Errorf("%s: %w", m.Image, err)
			}
		}
		return s, m.model.treeFor(s.DeviceTree), nil
	}
	files, err := m.model.readCard(m.card)
	if err != nil {
		return Software{}, deviceTree{}, fmt.Errorf("%s: %w", m.Image, err)
	}
	s, err := files.write(dir)
	return s, files.tree, err
}

// arguments are the arguments of QEMU for one boot; dir has the boot's files.
func (m *Machine) arguments(dir string) ([]string, error) {
	s, tree, err := m.software(dir)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-chardev", "stdio,id=console,signal=off",
		"-chardev", "socket,id=monitor,path=" + option(m.monitorSocket()),
		"-mon", "chardev=monitor,mode=control",
		"-kernel", s.Kernel, "-append", m.model.commandLine(tree, s.CommandLine, m.KernelArgs),
	}, m.model.args...)
	args = append(args, tree.serials()...)
	if s.Initramfs != "" {
		args = append(args, "-initrd", s.Initramfs)
	}
	if s.DeviceTree != "" {
		args = append(args, "-dtb", s.DeviceTree)
	}
	if m.card != "" {
		args = append(args, m.drive()...)
	}
	return append(args, m.QEMU...), nil
}

// drive are the arguments for the card.
func (m *Machine) drive() []string {
	drive := "if=" + m.model.disk
	if m.WriteLog == "" {
		return []string{"-drive", drive + ",format=raw,file=" + option(m.card)}
	}
	// Flushes end at the log. A flush of the file would take time, and the log would then
	// have writes before the flush that the machine asked for behind it.
	args := []string{"-drive", drive + ",driver=blklogwrites,file.driver=file,file.cache.no-flush=on,file.filename=" + option(m.card) +
		",log-super-update-interval=1,log.driver=file,log.cache.no-flush=on,log.filename=" + option(m.WriteLog)}
	if m.model.disk == "virtio" {
		// QEMU joins writes to some of more pieces than it can log. And before 9.0, it may
		// log zeros that a machine asks for without data over other entries.
		for _, off := range []string{"request-merging", "write-zeroes"} {
			args = append(args, "-global", "virtio-blk-device."+off+"=off")
		}
	}
	return args
}

// option quotes a value in a list that QEMU splits at commas.
func option(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// monitorSocket is there while QEMU starts.
func (m *Machine) monitorSocket() string { return filepath.Join(m.dir, "monitor") }
