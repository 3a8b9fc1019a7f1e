package ext4

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A fataler is what *testing.T, *testing.F and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// run runs one of the programs that judge our work.
func run(t fataler, name string, args ...string) string {
	t.Helper()
	out, err := tryRun(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func tryRun(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MKE2FS_DETERMINISTIC=1", "E2FSPROGS_FAKE_TIME=1700000000")
	if err := cmd.Err; err != nil {
		if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
			cmd.Path, cmd.Err = path, nil
		} else {
			return "", fmt.Errorf("%w: apt-get install e2fsprogs mount", cmd.Err)
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A layout is a way to make a file system.
type layout struct {
	name    string
	size    string
	options []string // of mke2fs
	tune    []string // of tune2fs, after the first files are there
	debugfs string   // request to debugfs, then
}

const piOS = "^64bit,^huge_file"

// layouts are the file systems of Raspberry Pi OS releases, and all others
// that mke2fs can make and that the editor should edit.
var layouts = []layout{
	{name: "buster", size: "12M", options: opt("-O", piOS+",metadata_csum,^metadata_csum_seed,^orphan_file")},
	{name: "stretch", size: "12M", options: opt("-O", piOS+",^metadata_csum,uninit_bg")},
	{name: "trixie", size: "12M", options: opt("-O", piOS+",metadata_csum,metadata_csum_seed,orphan_file")},
	{name: "default 1k", size: "20M", options: opt("-b", "1024")},
	{name: "default 2k", size: "20M", options: opt("-b", "2048")},
	{name: "default 4k", size: "40M", options: opt("-b", "4096")},
	{name: "no checksums", size: "10M", options: opt("-b", "1024", "-O", "^metadata_csum,^uninit_bg")},
	{name: "no index", size: "10M", options: opt("-b", "1024", "-O", "^dir_index")},
	{name: "no flex_bg", size: "20M", options: opt("-b", "1024", "-O", "^flex_bg", "-g", "2048")},
	{name: "many groups", size: "30M", options: opt("-b", "1024", "-g", "512", "-N", "4096")},
	{name: "many groups gdt_csum", size: "30M", options: opt("-b", "1024", "-g", "512", "-O", "^metadata_csum,uninit_bg,64bit", "-G", "4")},
	{name: "meta_bg", size: "30M", options: opt("-b", "1024", "-g", "512", "-O", "meta_bg,^resize_inode,64bit")},
	{name: "meta_bg 32", size: "30M", options: opt("-b", "1024", "-g", "1024", "-O", "meta_bg,^resize_inode,^64bit,^flex_bg")},
	{name: "sparse_super2", size: "30M", options: opt("-b", "1024", "-g", "1024", "-O", "sparse_super2,^resize_inode")},
	{name: "no sparse_super", size: "20M", options: opt("-b", "1024", "-g", "1024", "-O", "^sparse_super,^resize_inode")},
	{name: "small inodes", size: "10M", options: opt("-b", "1024", "-I", "128", "-O", "^metadata_csum")},
	{name: "small inodes csum", size: "10M", options: opt("-b", "2048", "-I", "128")},
	{name: "large inodes", size: "12M", options: opt("-b", "2048", "-I", "512")},
	{name: "large_dir", size: "12M", options: opt("-b", "1024", "-O", "large_dir")},
	{name: "few inodes", size: "12M", options: opt("-b", "1024", "-N", "48")},
	{name: "no journal", size: "8M", options: opt("-b", "1024", "-O", "^has_journal")},
	{name: "no filetype", size: "8M", options: opt("-b", "1024", "-O", "^filetype,^has_journal")},
	{name: "tea", size: "10M", options: opt("-b", "1024"), tune: opt("-E", "hash_alg=tea")},
	{name: "legacy", size: "10M", options: opt("-b", "1024"), tune: opt("-E", "hash_alg=legacy")},
	{name: "unsigned", size: "10M", options: opt("-b", "1024", "-O", "^metadata_csum"), debugfs: "ssv flags 2"},
	{name: "unsigned legacy", size: "10M", options: opt("-b", "1024"), tune: opt("-E", "hash_alg=legacy"), debugfs: "ssv flags 2"},
	{name: "unsigned tea", size: "10M", options: opt("-b", "1024"), tune: opt("-E", "hash_alg=tea"), debugfs: "ssv flags 2"},
	{name: "was ext3", size: "10M", options: opt("-b", "1024", "-O", "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^extra_isize,^dir_nlink", "-I", "128"), tune: opt("-O", "extents")},
	{name: "lazy", size: "40M", options: opt("-b", "1024", "-E", "lazy_itable_init=1,lazy_journal_init=1")},
	{name: "fast_commit", size: "20M", options: opt("-b", "1024", "-O", "fast_commit")},
}

func opt(options ...string) []string { return options }

// make makes the file system in a new file, with the files of dir, if any.
func (l layout) make(t fataler, image, dir string) {
	t.Helper()
	args := []string{"-q", "-F", "-t", "ext4", "-U", "12345678-1234-5678-9abc-123456789abc", "-E", "hash_seed=11111111-2222-3333-4444-555555555555", "-L", "rootfs"}
	args = append(args, l.options...)
	if dir != "" {
		args = append(args, "-d", dir)
	}
	run(t, "mke2fs", append(args, image, l.size)...)
	if l.tune != nil {
		run(t, "tune2fs", append(l.tune, image)...)
	}
	if l.debugfs != "" {
		run(t, "debugfs", "-w", "-R", l.debugfs, image)
	}
}

// populate fills dir with what base images hold: names, links, directories and
// files of all sizes.
func populate(t fataler, dir string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "etc/systemd/system"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, "many"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "etc/hostname"), []byte("raspberrypi\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "etc/empty"), nil, 0o600))
	must(os.WriteFile(filepath.Join(dir, "etc/large"), bytes.Repeat([]byte("0123456789abcdef"), 20000), 0o644))
	must(os.Link(filepath.Join(dir, "etc/hostname"), filepath.Join(dir, "etc/same")))
	must(os.Symlink("hostname", filepath.Join(dir, "etc/link")))
	must(os.Symlink(strings.Repeat("/long", 30), filepath.Join(dir, "etc/longlink")))
}

// populateSmall fills dir with little, and with a file of so many holes that it
// takes a node of extents.
func populateSmall(t fataler, dir string) {
	populate(t, dir)
	t.Helper()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "etc/large"), make([]byte, 20000), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/holes"), bytes.Repeat(append(make([]byte, 1024), bytes.Repeat([]byte("x"), 1024)...), 6), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/cap"), []byte("cap"), 0o755)); err != nil {
		t.Fatalf("%v", err)
	}
}

var (
	templates  = map[string]func() string{}
	templateMu sync.Mutex
)

// template is a populated file system of this layout, made once. It is to be
// copied, not changed.
func (l layout) template(t fataler) string {
	t.Helper()
	templateMu.Lock()
	defer templateMu.Unlock()
	image := filepath.Join(scratch, strings.ReplaceAll(l.name, " ", "-"))
	if _, ok := templates[l.name]; ok {
		return image
	}
	dir, err := os.MkdirTemp(scratch, "tree")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	populate(t, dir)
	l.make(t, image, dir)
	populateByKernel(t, image)
	templates[l.name] = nil
	return image
}

// long has tests run that take minutes.
var long = flag.Bool("long", false, "fill the largest directories, too")

// scratch is where images are made.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir := os.TempDir()
		if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
			dir = "/dev/shm" // spares the disk some 100 MB
		}
		var err error
		if scratch, err = os.MkdirTemp(dir, "ext4"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// copyImage copies an image to a new file.
func copyImage(t fataler, image string) string {
	t.Helper()
	out, err := os.CreateTemp(scratch, "copy")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer out.Close()
	run(t, "cp", "--sparse=always", image, out.Name())
	return out.Name()
}

// An editor is an FS and the file that it is in.
type editor struct {
	*FS
	file *os.File
}

func openImage(t fataler, image string) editor {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatalf("%v", err)
	}
	f, err := Open(file, info.Size())
	if err != nil {
		file.Close()
		t.Fatalf("Open(%s): %v", image, err)
	}
	return editor{f, file}
}

// done closes the file system and its file.
func (e editor) done(t fataler) {
	t.Helper()
	defer e.file.Close()
	if err := e.FS.Close(); err != nil {
		t.Fatalf("%v", err)
	}
}

// fsck has e2fsck check an image.
func fsck(t fataler, image string) {
	t.Helper()
	run(t, "e2fsck", "-fn", image)
}
