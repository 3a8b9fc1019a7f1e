package flash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/guest"
)

// modules are what the machine needs; scsi_debug is loaded with parameters later.
var modules = []string{
	"virtio_pci", "virtio_blk", "ext4", "vfat", "nls_cp437", "nls_ascii",
	"dm-mod", "dm-flakey", "dm-delay", "scsi_mod", "sd_mod", "crc-t10dif",
	"libcomposite", "usb_f_mass_storage", "dummy_hcd", "usb-storage",
}

// An event is a line that the program prints with --json.
type event struct {
	Event, Role, Path, Phase, Error string
	Done                            int64
}

// A flashing is a run of the program.
type flashing struct {
	*exec.Cmd
	out    *bufio.Scanner
	stderr bytes.Buffer
}

func flash(t *testing.T, args ...string) *flashing {
	t.Helper()
	f := &flashing{Cmd: exec.Command(program, append([]string{"flash", "--json", "--yes"}, args...)...)}
	f.Env = []string{"TMPDIR=/tmp", "PATH=/bin"}
	f.Dir = "/tmp"
	f.Stderr = &f.stderr
	out, err := f.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.out = bufio.NewScanner(out)
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}

// await reads on to the next event that is as wanted: of a kind, and about a role if
// one is given.
func (f *flashing) await(t *testing.T, kind, role string) event {
	t.Helper()
	for f.out.Scan() {
		var e event
		if err := json.Unmarshal(f.out.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, f.out.Text())
		}
		if e.Event == kind && (role == "" || e.Role == role) {
			return e
		}
	}
	t.Fatalf("no event %s of %s; %s", kind, role, f.stderr.String())
	return event{}
}

// end waits for the program and returns its results by role, and its error in a line.
func (f *flashing) end(t *testing.T) (results map[string]event, message string) {
	t.Helper()
	results = map[string]event{}
	for f.out.Scan() {
		var e event
		if err := json.Unmarshal(f.out.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, f.out.Text())
		}
		if e.Event == "result" {
			results[e.Role] = e
		}
	}
	err := f.Wait()
	message = strings.TrimSpace(f.stderr.String())
	if (err == nil) != (message == "") || strings.Contains(message, "\n") {
		t.Errorf("%v, and it says %q: want a line if it fails", err, message)
	}
	return results, message
}

// inMachine are the tests in the machine. Its disks are vda, whose writes are
// recorded, vdb with the image, and vdc to vde.
func inMachine(t *testing.T) {
	if err := os.MkdirAll("/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	t.Run("together", together)
	t.Run("refused", refused)
	t.Run("running", running)
	t.Run("next", next)
}

// together writes four cards at once and one by itself: one is good, one fails in the
// middle, one drops what is written, one is taken out, and one is slow.
func together(t *testing.T) {
	const sectors, good, bad = cardSize / 512, 45 << 11, 2 << 11 // the inodes of the root partition
	middle := mapper(t, "middle",
		target{0, good, "linear", "/dev/vdc 0"},
		target{good, bad, "error", ""},
		target{good + bad, sectors - good - bad, "linear", fmt.Sprintf("/dev/vdc %d", good+bad)})
	liar := mapper(t, "liar", target{0, sectors, "flakey", "/dev/vdd 0 0 60 1 drop_writes"})
	slow := mapper(t, "slow", target{0, sectors, "delay", "/dev/vde 0 5"})
	insert(t, "scsi_debug", fmt.Sprintf("dev_size_mb=%d removable=1 delay=30", cardSize>>20))
	stick := "/dev/" + filepath.Base(glob(t, "/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*"))
	if err := guest.Await(stick); err != nil {
		t.Fatal(err)
	}

	f := flash(t, "--any-disk", image, "p1=/dev/vda", "p2="+middle, "p3="+liar, "p4="+stick, "p5="+slow)
	f.await(t, "progress", "p4")
	write(t, filepath.Join("/sys/block", filepath.Base(stick), "device/delete"), "1")
	results, message := f.end(t)
	for role, want := range map[string]string{
		"p2": middle + ": write at byte ", "p3": liar + ": bytes 0 to ", "p4": stick + ": was taken out, unfinished",
	} {
		if e := results[role]; !strings.HasPrefix(e.Error, want) || !strings.Contains(message, e.Error) {
			t.Errorf("%s: %q; want %q", role, e.Error, want)
		}
	}
	for _, role := range []string{"p1", "p5"} {
		if e, ok := results[role]; !ok || e.Error != "" {
			t.Errorf("%s: %+v", role, e)
		}
	}
	if t.Failed() {
		t.Log(results, message)
	}
	if hasTable(head(t, "/dev/vdc")) {
		t.Error("the card that failed in the middle has a partition table")
	}
	for _, name := range []string{"middle", "liar", "slow"} {
		remove(t, name)
	}
}

// refuse has the program refuse a card, for a reason.
func refuse(t *testing.T, disk, want string) {
	t.Helper()
	before := head(t, disk)
	if results, message := flash(t, "--any-disk", image, "p1="+disk).end(t); len(results) > 0 || !strings.HasPrefix(message, "clusterctrl: "+disk+": "+want) {
		t.Errorf("%s: %q; want %q", disk, message, want)
	}
	if !bytes.Equal(head(t, disk), before) {
		t.Errorf("%s is not what it was", disk)
	}
}

func head(t *testing.T, disk string) []byte {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 64<<10)
	if _, err := f.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

func refused(t *testing.T) {
	if err := guest.Await("/dev/vda2"); err != nil { // the program had the kernel read the table
		t.Fatal(err)
	}
	refuse(t, "/dev/vda1", "is a partition: want the whole card, /dev/vda")

	mount(t, "/dev/vda1", "/mnt", "vfat")
	refuse(t, "/dev/vda", "is mounted at /mnt: want a card that is not in use")
	unmount(t, "/mnt")

	mapper(t, "root", target{0, 2048, "linear", "/dev/vda2 0"})
	refuse(t, "/dev/vda", "is a part of root: want a card that is not in use")
	remove(t, "root")

	name := "/dev/vdc" // full of noise
	swap := make([]byte, 64<<12)
	copy(swap[1024:], "\x01\x00\x00\x00\x0f\x00\x00\x00") // version, last page
	copy(swap[4096-10:], "SWAPSPACE2")
	overwrite(t, name, swap)
	if err := swapon(name); err != nil {
		t.Fatal(err)
	}
	refuse(t, name, "is in use as swap: want a card that is not in use")
	if err := swapoff(name); err != nil {
		t.Fatal(err)
	}
	overwrite(t, name, make([]byte, 64<<12))

	if err := setReadOnly("/dev/vdd", 1); err != nil {
		t.Fatal(err)
	}
	refuse(t, "/dev/vdd", "read-only: ")
	if err := setReadOnly("/dev/vdd", 0); err != nil {
		t.Fatal(err)
	}
}

// running has the program find itself in a system that runs from a card.
func running(t *testing.T) {
	if err := readTable("/dev/vde"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/dev/vde2", "/mnt", "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, "/mnt")
	for _, dir := range []string{"/dev", "/proc", "/sys", "/tmp"} {
		target := "/mnt" + dir
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(dir, target, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("bind %s: %v", target, err)
		}
		defer unmount(t, target)
	}
	copied, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/tmp/clusterctrl", copied, 0o755); err != nil {
		t.Fatal(err)
	}
	f := exec.Command("/tmp/clusterctrl", "flash", "--any-disk", "--yes", "-q", image, "p1=/dev/vde")
	f.SysProcAttr = &unix.SysProcAttr{Chroot: "/mnt"}
	f.Dir = "/"
	out, err := f.CombinedOutput()
	if want := "clusterctrl: /dev/vde: holds the running system: want a card that is not in use\n"; err == nil || string(out) != want {
		t.Errorf("%v, %q; want %q", err, out, want)
	}
}

// next writes one card after the other in a reader on USB.
func next(t *testing.T) {
	write(t, "/sys/module/block/parameters/events_dfl_poll_msecs", "100") // as udev does
	reader := newReader(t)
	f := flash(t, image, "p1-p3", "--next", "--journal", "/tmp/journal")
	f.await(t, "insert", "p1")
	reader.insert(t, "small", cardSize/4)
	if e := f.await(t, "refused", ""); !strings.Contains(e.Error, "too few for the image") {
		t.Errorf("a card that is too small: %+v", e)
	}
	reader.remove(t)
	for _, role := range []string{"p1", "p2"} {
		if role == "p2" {
			f.await(t, "insert", role)
		}
		reader.insert(t, role, cardSize)
		if e := f.await(t, "result", role); e.Error != "" {
			t.Errorf("%+v", e)
		}
		f.await(t, "remove", role)
		reader.remove(t)
		contains(t, "/tmp/card-"+role, role)
	}
	f.await(t, "insert", "p3")
	if err := f.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if results, message := f.end(t); len(results) > 0 || message != "clusterctrl: interrupted" {
		t.Errorf("the end between two cards: %v, %q", results, message)
	}

	f = flash(t, image, "p1-p3", "--next", "--journal", "/tmp/journal")
	f.await(t, "insert", "p3")
	reader.insert(t, "p3", cardSize)
	if results, message := f.end(t); len(results) != 1 || results["p3"].Error != "" || message != "" {
		t.Errorf("the next day: %v, %q", results, message)
	}
	reader.remove(t)
	contains(t, "/tmp/card-p3", "p3")
	journal, err := os.ReadFile("/tmp/journal")
	if err != nil || bytes.Count(journal, []byte("\n")) != 3 || !bytes.Contains(journal, []byte(`"role":"p2","model":"Linux File-Stor Gadget"`)) {
		t.Errorf("the journal: %v\n%s", err, journal)
	}
	if results, message := flash(t, image, "p1-p3", "--next", "--journal", "/tmp/journal").end(t); len(results) > 0 || message != "" {
		t.Errorf("when all is done: %v, %q", results, message)
	}
	if _, message := flash(t, "/tmp/card-p1", "p4", "--next", "--branded", "--journal", "/tmp/journal").end(t); !strings.Contains(message, "was written with another image") {
		t.Errorf("another image: %q", message)
	}
}

// contains has the program look at a card.
func contains(t *testing.T, card, role string) {
	t.Helper()
	out, err := exec.Command(program, "inspect", "-q", card).CombinedOutput()
	if want := "it becomes " + role + ","; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v, %s; want %s", card, err, out, want)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, disk string, p []byte) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(p)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func mount(t *testing.T, disk, dir, kind string) {
	t.Helper()
	if err := unix.Mount(disk, dir, kind, unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("mount %s: %v", disk, err)
	}
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatalf("unmount %s: %v", dir, err)
	}
}

// glob waits until there is a file whose name matches, the only one.
func glob(t *testing.T, pattern string) (found string) {
	t.Helper()
	err := guestWait(func() bool {
		names, _ := filepath.Glob(pattern)
		if len(names) == 1 {
			found = names[0]
		}
		return len(names) == 1
	})
	if err != nil {
		t.Fatalf("%s: %v", pattern, err)
	}
	return found
}
