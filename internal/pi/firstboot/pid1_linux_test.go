package firstboot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/format/fat"
	"clusterctrl/internal/tree/recipe"
)

// This test binary is three programs: the test, what lays out a Pi in
// namespaces of its own, and that Pi's PID 1.
func TestMain(m *testing.M) {
	switch os.Getenv("FIRSTBOOT_TEST") {
	case "pi":
		must(layOut(os.Args[1], os.Args[2:]))
	case "init":
		must(becomeInit(os.Args[1], os.Args[2:]))
	default:
		os.Exit(m.Run())
	}
}

// An outcome is what a Pi looks like when its PID 1 has ended.
type outcome struct {
	Signal syscall.Signal // that ended it
	Output string
	Root   map[string]string
	Boot   []byte
}

// runPi starts the program with args as PID 1 of a Pi with the files of root
// and the boot partition, whose device is a file: this machine has no FAT.
func runPi(t *testing.T, root fs.FS, boot memory, args ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	must(os.CopyFS(filepath.Join(dir, "root"), root))
	must(os.WriteFile(filepath.Join(dir, "boot.img"), boot, 0o644))
	cmd := exec.Command(os.Args[0], append([]string{dir}, args...)...)
	cmd.Env = append(os.Environ(), "FIRSTBOOT_TEST=pi")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The network is there because it owns /sys.
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("a Pi in namespaces (user namespaces must be on): %v\n%s", err, output)
	}
	text, err := os.ReadFile(filepath.Join(dir, "outcome"))
	must(err)
	var o outcome
	must(json.Unmarshal(text, &o))
	return o
}

// layOut makes a Pi of what is in dir, runs its PID 1 and notes the outcome.
func layOut(dir string, args []string) error {
	root := filepath.Join(dir, "pi")
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(os.Mkdir(root, 0o755))
	must(unix.Mount("tmpfs", root, "tmpfs", 0, ""))
	must(os.CopyFS(root, os.DirFS(filepath.Join(dir, "root"))))
	if os.Getenv("FIRSTBOOT_OVERLAY") != "" {
		must(coverByOverlay(root))
	}
	for _, name := range []string{"proc", "sys", "dev"} {
		must(os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	must(unix.Mount("tmpfs", filepath.Join(root, "dev"), "tmpfs", 0, ""))
	image := filepath.Join(root, "dev/mmcblk0p1")
	must(copyFile(filepath.Join(dir, "boot.img"), image))

	cmd := exec.Command(os.Args[0], append([]string{root}, args...)...)
	cmd.Env = append(os.Environ(), "FIRSTBOOT_TEST=init")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	output := &console{signals: os.Getenv("FIRSTBOOT_SIGNALS") != "", cmd: cmd}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Run()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	o := outcome{Output: fmt.Sprintf("%s%v", output.said.String(), cmd.ProcessState), Root: map[string]string{}}
	if status.Signaled() {
		o.Signal = status.Signal()
	}
	var err error
	o.Boot, err = os.ReadFile(image)
	must(err)
	must(fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if name == "dev" {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			o.Root[name], err = describe(filepath.Join(root, name))
		}
		return err
	}))
	text, err := json.Marshal(o)
	must(err)
	return os.WriteFile(filepath.Join(dir, "outcome"), text, 0o644)
}

// coverByOverlay has what is changed in a directory kept elsewhere, as
// raspi-config's read-only root does.
func coverByOverlay(dir string) error {
	above := dir + "-above"
	must(os.Mkdir(above, 0o755))
	must(unix.Mount("tmpfs", above, "tmpfs", 0, ""))
	must(os.Mkdir(filepath.Join(above, "files"), 0o755))
	must(os.Mkdir(filepath.Join(above, "work"), 0o755))
	return unix.Mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%[2]s/files,workdir=%[2]s/work,userxattr", dir, above))
}

// A console keeps what PID 1 says. If signals is set, PID 1 gets for each line all
// signals that can be sent to a process.
type console struct {
	said    bytes.Buffer
	signals bool
	cmd     *exec.Cmd
}

func (c *console) Write(p []byte) (int, error) {
	if c.signals {
		for _, s := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGCHLD, unix.SIGPIPE, unix.SIGUSR1, unix.SIGPWR} {
			c.cmd.Process.Signal(s) // it may have ended
		}
	}
	return c.said.Write(p)
}

func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		return os.Readlink(path)
	}
	if !info.Mode().IsRegular() {
		return info.Mode().String(), nil
	}
	text, err := os.ReadFile(path)
	return fmt.Sprintf("%v %s", info.Mode(), text), err
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	must(err)
	defer r.Close()
	w, err := os.Create(to)
	must(err)
	_, err = io.Copy(w, r)
	must(err)
	return w.Close()
}

// becomeInit is the kernel's part: / is read-only, and nothing else is there.
func becomeInit(root string, args []string) error {
	must(unix.Chroot(root))
	must(os.Chdir("/"))
	must(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return Main(append([]string{"/usr/sbin/reconfig-clusterctrl"}, args...))
}

// piFiles is the root of the image, with an fstab that names the boot partition by its
// device.
func piFiles() fstest.MapFS {
	files := maps.Clone(imageRoot().MapFS)
	for name := range files {
		if strings.HasPrefix(name, "var/lib/clusterctrl/nfs/") || strings.HasPrefix(name, "etc/minicom/") {
			delete(files, name) // hundreds that make no difference
		}
	}
	fstab := *files["etc/fstab"]
	fstab.Data = []byte(strings.ReplaceAll(string(fstab.Data), "PARTUUID=5a3d1c0e-01", "/dev/mmcblk0p1"))
	files["etc/fstab"] = &fstab
	return files
}

// The real calls, in the order of a Pi's life: a new card, the finished one
// asked to be another, the command line wrong, and no boot partition.
func TestPID1(t *testing.T) {
	p := newPi()
	p.ask(t, "p7")
	o := runPi(t, piFiles(), p.Content(), "p7")
	if o.Signal != syscall.SIGHUP {
		t.Fatalf("PID 1 ended by %v, want SIGHUP, a restart:\n%s", o.Signal, o.Output)
	}
	m := p.start("p7")
	if m.restarts != 1 {
		t.Fatal(m.said)
	}
	if want := p.Content(); string(o.Boot) != string(want) {
		t.Error("the boot partition is not what it is in memory")
	}
	changes, err := p.root.Changes()
	must(err)
	for _, c := range changes {
		want := ""
		switch {
		case c.New == nil:
		case c.New.Mode.Type() == fs.ModeSymlink:
			want = c.New.Target
		case c.New.Mode.IsRegular():
			want = fmt.Sprintf("%v %s", c.New.Mode, c.New.Data)
		}
		if got := o.Root[c.Name]; got != want {
			t.Errorf("%s is %q, want %q", c.Name, got, want)
		}
	}
	for name := range o.Root {
		if strings.Contains(name, ".new-") || name == attemptsFile {
			t.Errorf("%s is left", name)
		}
	}
}

// No signal ends PID 1, which would end the kernel.
func TestSignals(t *testing.T) {
	t.Setenv("FIRSTBOOT_SIGNALS", "yes")
	p := newPi()
	p.ask(t, "p7")
	if o := runPi(t, piFiles(), p.Content(), "p7"); o.Signal != syscall.SIGHUP || !strings.Contains(o.Output, "clusterctrl: restart\n") {
		t.Errorf("PID 1 ended by %v, want SIGHUP, a restart:\n%s", o.Signal, o.Output)
	}
}

// A role that cannot be read: the real calls that make an unconfigured node.
func TestPID1FallsBack(t *testing.T) {
	p := newPi()
	p.ask(t, "p253")
	o := runPi(t, piFiles(), p.Content(), "p253")
	if o.Signal != syscall.SIGHUP || !strings.HasSuffix(o.Root["etc/hostname"], "p253\n") {
		t.Errorf("PID 1 ended by %v, the name is %q; want SIGHUP, a restart, and p253:\n%s", o.Signal, o.Root["etc/hostname"], o.Output)
	}
}

func TestPID1GivesUp(t *testing.T) {
	init := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-o", init, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(init)
	must(err)
	files := piFiles()
	files["usr/lib/systemd/systemd"] = &fstest.MapFile{Data: program, Mode: 0o755}
	other := maps.Clone(files)
	other["etc/os-release"] = &fstest.MapFile{Data: []byte("ID=arch\n"), Mode: 0o644}
	for _, tt := range []struct {
		name, asked string
		files       fstest.MapFS
		said        string
	}{
		{"overlay", "p7", files, "/ is an overlay"},
		{"system", "p7", other, `the system is "arch"`},
		{"no boot partition", "p7", withoutBoot(files), "mounts no vfat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "overlay" {
				t.Setenv("FIRSTBOOT_OVERLAY", "yes")
			}
			p := newPi()
			p.ask(t, tt.asked)
			o := runPi(t, tt.files, p.Content(), tt.asked, "single")
			const want = `init ["/sbin/init" "single"] pid=1 proc=false read-only=true`
			if name := map[bool]string{true: "p253\n", false: "cbridge\n"}[tt.name == "no boot partition"]; !strings.HasSuffix(o.Root["etc/hostname"], name) {
				t.Errorf("the name is %q, want %q", o.Root["etc/hostname"], name)
			}
			if o.Signal != 0 || !strings.Contains(o.Output, tt.said) || !strings.Contains(o.Output, want) {
				t.Errorf("ended by %v, output\n%s\nwant %s and %s", o.Signal, o.Output, tt.said, want)
			}
			boot, err := fat.OpenVolume(discard{o.Boot}, int64(len(o.Boot)))
			must(err)
			text, err := readCommandLine(boot)
			must(err)
			if tt.name != "no boot partition" && recipe.StartsBranding(string(text)) {
				t.Errorf("%s is %q", CommandLine, text)
			}
		})
	}
}

// discard is a device that is only read.
type discard struct{ memory }

func (discard) Sync() error { return nil }

func withoutBoot(files fstest.MapFS) fstest.MapFS {
	files = maps.Clone(files)
	files["etc/fstab"] = &fstest.MapFile{Data: []byte("proc /proc proc defaults 0 0\n"), Mode: 0o644}
	return files
}
