package gadget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/traffic"
	"clusterctrl/internal/lab/labtest/vm"
	"clusterctrl/internal/linux/kmod"
	"clusterctrl/internal/linux/uevent"
	"clusterctrl/internal/node"
)

// What a child of the test in the machine is to be.
const (
	childStarts = "start" // and stop: killed after so many changes
	childStops  = "stop"
	childLogin  = "login" // a session on the serial console
)

func TestMain(m *testing.M) {
	if !vm.Inside() && len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2:])
	}
	vm.Main(m)
}

// inMachine are the tests there. The order matters: modules that are loaded stay
// so, and when a device controller vanishes, Linux 6.1 keeps the directory that
// its network card was in and takes it for that of the next one.
func inMachine(t *testing.T) {
	for _, dir := range []string{"/tmp", "/etc/default"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("lacking", lacking)
	t.Run("no controller", noController)
	t.Run("appears", appears)
	t.Run("flood", flood)
	t.Run("taken", taken)
	t.Run("killed", killed)
	t.Run("open", open)
	t.Run("at once", atOnce)
	t.Run("program", program)
	early := plugEarly(t)
	startUdev(t)
	t.Run("boards", func(t *testing.T) { boards(t, early) })
	t.Run("nodes", nodes)
	t.Run("twins", twins)
	t.Run("admin port", adminPort)
	t.Run("vanishes", vanishes)
}

// settle writes the settings of a node.
func settle(t testing.TB, id node.ID, f node.Gadget, more string) {
	text := fmt.Sprintf("TYPE=node\nID=%d\nGADGET=%s\n%s", id, f, more)
	if err := os.WriteFile(node.SettingsFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustStart(t testing.TB, want Outcome) Report {
	t.Helper()
	r, err := Start(t.Context(), Options{})
	if err != nil || r.Outcome != want {
		t.Fatalf("Start() = %v, %v; want outcome %d", r, err, want)
	}
	return r
}

func mustStop(t testing.TB, want Outcome) {
	t.Helper()
	r, err := Stop(Options{})
	if err != nil || r.Outcome != want {
		t.Fatalf("Stop() = %v, %v; want outcome %d", r, err, want)
	}
	left, err := os.ReadDir(Options{}.withDefaults().gadgets())
	if len(left) > 0 || err != nil {
		t.Fatalf("Stop() left %v, %v", left, err)
	}
}

func wantError(t *testing.T, o Options, want string) {
	t.Helper()
	r, err := Start(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Start() = %v, %v; want %q", r, err, want)
	}
	mustStop(t, Absent) // a start that fails leaves nothing
}

// lacking is about kernels without what a gadget needs.
func lacking(t *testing.T) {
	if r, err := Stop(Options{}); err != nil || r.Outcome != Absent {
		t.Errorf("Stop() before anything was loaded = %v, %v", r, err)
	}
	settle(t, 7, node.RNDIS, "")
	modules, err := kmod.Dir()
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ gone, want string }{
		{"configfs", "the kernel has no configfs, which USB gadgets need"},
		{"libcomposite", "the kernel has no libcomposite"},
		{"usb_f_rndis", "the kernel has no usb_f_rndis: set GADGET=ncm in /etc/default/clusterctrl"},
	} {
		fewer := t.TempDir()
		if err := os.Symlink(filepath.Join(modules, "kernel"), filepath.Join(fewer, "kernel")); err != nil {
			t.Fatal(err)
		}
		dep := strings.ReplaceAll(string(index), "/"+tt.gone+".ko", "/gone.ko")
		if err := os.WriteFile(filepath.Join(fewer, "modules.dep"), []byte(dep), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Start(t.Context(), Options{Modules: fewer})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Start() without %s = %v, %v; want %s", tt.gone, r, err, tt.want)
		}
	}
	if err := os.WriteFile(node.SettingsFile, []byte("TYPE=cnat\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustStart(t, NoNode)
}

func noController(t *testing.T) {
	settle(t, 7, node.NCM, "")
	wantError(t, Options{Wait: time.Millisecond}, "no USB device controller; a Pi wants dtoverlay=dwc2,dr_mode=peripheral")
	settle(t, 7, node.NCM, "UDC=x.usb")
	wantError(t, Options{Wait: time.Millisecond}, "UDC=x.usb: no such USB device controller")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start() = %v; want %v", err, context.Canceled)
	}
}

// appears has a device controller appear while it is waited for, often, since
// there is a moment at which it is listed but takes no gadget.
func appears(t *testing.T) {
	settle(t, 7, node.ECM, "")
	for range 20 {
		done := make(chan error)
		go func() {
			r, err := Start(t.Context(), Options{})
			if err == nil && (r.Outcome != Started || r.UDC != "dummy_udc.0") {
				err = fmt.Errorf("Start() = %v", r)
			}
			done <- err
		}()
		// Once the gadget is there, Start has nothing left to do but wait.
		gadget := filepath.Join(Options{}.withDefaults().gadgets(), config, "acm.usb0")
		await(t, gadget, func() bool { return isThere(gadget) })
		insertDummy(t, 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		mustStop(t, Stopped)
		if err := unix.DeleteModule("dummy_hcd", 0); err != nil {
			t.Fatal(err)
		}
	}
	insertDummy(t, 2)
	settle(t, 7, node.ECM, "UDC=x.usb")
	wantError(t, Options{Wait: time.Millisecond}, "UDC=x.usb: no such USB device controller")
}

// flood causes more events than the kernel keeps for a program that does not read them.
// Later events are not lost.
func flood(t *testing.T) {
	events, err := uevent.Listen(uevent.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	change := func(device string) {
		if err := os.WriteFile("/sys/class/"+device+"/uevent", []byte("change"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2000 {
		change("mem/null")
	}
	if err := uevent.Await(events, "udc"); err != nil {
		t.Errorf("Await() in a flood: %v", err)
	}
	change("udc/dummy_udc.0")
	if err := uevent.Await(events, "udc"); err != nil {
		t.Errorf("Await() after a flood: %v", err)
	}
}

// replaceDummy has all device controllers go, and two come.
func replaceDummy(t *testing.T) {
	if err := unix.DeleteModule("dummy_hcd", 0); err != nil {
		t.Fatal(err)
	}
	insertDummy(t, 2)
}

// insertDummy loads the driver of device controllers that are wired to USB ports
// of the same machine, and drivers for what appears on these.
func insertDummy(t *testing.T, controllers int) {
	dir, err := kmod.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if err := kmod.Load(dir, "usbcore", "udc-core", "rndis_host", "cdc_ether", "cdc_ncm", "cdc-acm"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "kernel/drivers/usb/gadget/udc/dummy_hcd.ko"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), fmt.Sprintf("num=%d", controllers), 0); err != nil {
		t.Fatal(err)
	}
}

// taken is about a device controller that another gadget is bound to.
func taken(t *testing.T) {
	tree := configFS(Options{}.withDefaults().gadgets())
	for _, p := range []part{
		{directory, "other", ""},
		{directory, "other/functions/acm.x", ""},
		{directory, "other/configs/c.1", ""},
		{link, "other/configs/c.1/acm.x", "other/functions/acm.x"},
		{attribute, "other/UDC", "dummy_udc.0"},
	} {
		if err := p.make(tree); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, 7, node.ECM, "")
	r, err := Start(t.Context(), Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "device controller dummy_udc.0 is taken by other") {
		t.Errorf("Start() = %v, %v", r, err)
	}
	settle(t, 7, node.ECM, "UDC=dummy_udc.1")
	if r := mustStart(t, Started); r.UDC != "dummy_udc.1" {
		t.Errorf("Start() = %v", r)
	}
	mustStart(t, Running)
	if r, err := Stop(Options{}); err != nil || r.Outcome != Stopped || !isThere(tree.path("other")) {
		t.Errorf("Stop() = %v, %v; want the other gadget left", r, err)
	}
	for _, name := range []string{"other/configs/c.1/acm.x", "other/configs/c.1", "other/functions/acm.x", "other"} {
		if err := tree.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// nodes is about what the controller sees of nodes, and hears.
func nodes(t *testing.T) {
	host, err := traffic.NewFarEnd()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for _, function := range node.Gadgets {
		for _, id := range []node.ID{1, 16, 99, 252} {
			t.Run(fmt.Sprintf("%v %s", id, function), func(t *testing.T) {
				present(t, host, typeNode, id, function)
			})
		}
		t.Run("booted over USB "+string(function), func(t *testing.T) {
			present(t, host, typeUSBBoot, 99, function)
		})
	}
}

// present has a node on USB, twice, and looks at it the first time.
func present(t *testing.T, host *traffic.FarEnd, kind string, id node.ID, function node.Gadget) {
	settle(t, id, function, "TYPE="+kind+"\n")
	began := time.Now()
	mustStart(t, Started)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	d := findDevice(t, kind, id)
	d.check(t, kind, id, function)
	exchange(t, host, d, id)
	exchangeSerial(t, d)
	mustStart(t, Running)
	unplug(t, d)
	mustStop(t, Absent)
	mustStart(t, Started)
	unplug(t, findDevice(t, kind, id))
}

// unplug stops the gadget of a device, which leaves no trace.
func unplug(t *testing.T, d device) {
	t.Helper()
	mustStop(t, Stopped)
	for _, name := range []string{d.dir, "/sys/class/net/" + d.card, "/dev/" + d.tty, d.port} {
		await(t, "the end of "+name, func() bool { return !isThere(name) })
	}
}

// killed kills start and stop after each of the changes that they make.
func killed(t *testing.T) {
	for _, function := range node.Gadgets {
		settle(t, 7, function, "")
		for k := 0; dies(t, childStarts, k); k++ {
			if k%2 == 1 {
				mustStop(t, Stopped)
				continue
			}
			if r, err := Start(t.Context(), Options{}); err != nil || r.Outcome == Running {
				t.Fatalf("Start() after one killed after %d changes = %v, %v", k, r, err)
			}
			mustStart(t, Running) // all of it is there
			mustStop(t, Stopped)
		}
		mustStart(t, Running)
		for k := 0; dies(t, childStops, k); k++ {
			if r, err := Start(t.Context(), Options{}); err != nil || k > 0 && r.Outcome != Rebuilt {
				t.Fatalf("Start() after a stop killed after %d changes = %v, %v", k, r, err)
			}
			mustStart(t, Running)
		}
		mustStop(t, Absent)
	}
}

// startOrStop starts or stops the gadget, and dies after so many changes.
func startOrStop(what string, changes int, die func() error) error {
	o := Options{}.withDefaults()
	b, unlock, err := o.builder()
	if err != nil {
		return err
	}
	defer unlock()
	b.tree = &mortal{b.tree, changes, die}
	s, err := ReadSettings(o.Settings)
	if err != nil {
		return err
	}
	if what == childStarts {
		_, err = b.start(context.Background(), s)
	} else {
		_, err = b.stop()
	}
	return err
}

// dies has a process start or stop the gadget, and kills it after so many changes. It
// reports whether the process was killed before it was done.
func dies(t *testing.T, what string, changes int) bool {
	t.Helper()
	out, err := exec.Command("/proc/self/exe", "child", what, strconv.Itoa(changes)).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGKILL && changes < unlimited {
		return true
	}
	if err != nil {
		t.Fatalf("%s with %d changes: %v\n%s", what, changes, err, out)
	}
	return false
}

// child never returns.
func child(args []string) {
	err := func() error {
		if args[0] == childLogin {
			return login()
		}
		changes, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return startOrStop(args[0], changes, func() error { return unix.Kill(os.Getpid(), unix.SIGKILL) })
	}()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// login is a session on the serial console, as a login shell is: it reads until
// it is hung up on.
func login() error {
	tty, err := os.OpenFile("/dev/ttyGS0", os.O_RDWR, 0) // becomes the controlling terminal
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, tty)
	return err
}

// open is about a serial console that is in use when the gadget stops, with and
// without a cable.
func open(t *testing.T) {
	settle(t, 7, node.RNDIS, "")
	for _, bound := range []bool{true, false} {
		mustStart(t, Started)
		if !bound {
			tree := configFS(Options{}.withDefaults().gadgets())
			if err := tree.Write(udcFile, ""); err != nil {
				t.Fatal(err)
			}
		}
		shell := exec.Command("/proc/self/exe", "child", childLogin)
		shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := shell.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
		mustStop(t, Stopped)
		shell.Wait() // it ends, whether by SIGHUP or since there is no more to read
	}
}

// vanishes has the device controller go away from under a gadget, and another of
// its name come. From Linux 5.19 on that one shows the gadget by itself.
func vanishes(t *testing.T) {
	settle(t, 7, node.NCM, "")
	mustStart(t, Started)
	replaceDummy(t)
	mustStart(t, Running)
	mustStop(t, Stopped)
}

// atOnce has several start the same gadget.
func atOnce(t *testing.T) {
	settle(t, 252, node.NCM, "")
	const programs = 4
	reports, errs := make(chan Report, programs), make(chan error, programs)
	for range programs {
		go func() {
			r, err := Start(t.Context(), Options{})
			reports <- r
			errs <- err
		}()
	}
	count := map[Outcome]int{}
	for range programs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
		count[(<-reports).Outcome]++
	}
	if count[Started] != 1 || count[Running] != programs-1 {
		t.Errorf("outcomes %v; want one start", count)
	}
	mustStop(t, Stopped)
}
