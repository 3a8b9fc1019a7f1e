package build_test

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"clusterctrl/test/base"
	"golang.org/x/sys/unix"
)

// TestBadBases damages a base in one way each. Nothing may be made of it. The base is
// the program's sample: real ones take long to copy.
func TestBadBases(t *testing.T) {
	t.Parallel()
	sample := filepath.Join(t.TempDir(), "sample.img")
	judge(t, "sh", "-c", "xz -dc "+moduleRoot+"/internal/image/sample/sample.img.xz >"+sample)
	stock := openDisk(t, sample)
	line := stock.bootFile(t, "cmdline.txt")
	setLine := func(text string) func(*testing.T, disk) {
		return func(t *testing.T, d disk) { d.setBootFile(t, "cmdline.txt", text) }
	}
	for _, tt := range []struct {
		name   string
		damage func(*testing.T, disk)
		want   string // in the error
	}{
		{"dirty journal", needsRecovery, "journal"},
		{"root full", fillRoot, "no space left in the file system"},
		{"no inodes", useInodes, " inodes are in use: make room with --grow 200M"},
		{"no cmdline.txt", func(t *testing.T, d disk) { judge(t, "mdel", "-i", d.fat(), "::cmdline.txt") }, "no boot/firmware/cmdline.txt"},
		{"cmdline.txt empty", setLine(""), "cmdline.txt: it is empty"},
		{"cmdline.txt blank", setLine(" \n"), "cmdline.txt: it is empty"},
		{"cmdline.txt of two lines", setLine(line + "quiet\n"), "cmdline.txt: line 2 of it is \"quiet\""},
		{"cmdline.txt over the sector", setLine(strings.TrimSpace(line) + strings.Repeat("x", 400) + "\n"), "bytes long: want at most 511"},
		{"GPT", makeGPT, "GPT"},
		{"no second partition", func(t *testing.T, d disk) { judge(t, "sfdisk", "--quiet", "--delete", d.path, "2") }, "partition 2"},
		{"no ext4", func(t *testing.T, d disk) { zero(t, d.path, d.root+1024, 1024) }, "ext4"},
		{"no FAT", func(t *testing.T, d disk) { zero(t, d.path, d.boot, 512) }, "FAT"},
		{"not Debian", setOSRelease("ID=fedora\nVERSION_ID=40\n"), "want raspbian or debian"},
		{"too new", setOSRelease("ID=debian\nVERSION_ID=14\n"), "want 10 to 13"},
		{"not a system", func(t *testing.T, d disk) { d.debugfs(t, "unlink /etc/os-release") }, "want a Raspberry Pi OS image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := copyDisk(t, stock)
			tt.damage(t, d)
			dir := t.TempDir()
			said := refused(t, clusterctrl(t, "build", d.path, "--nodes", "0", "--no-nat", "-o", dir))
			if !strings.HasPrefix(said, "clusterctrl: "+filepath.Base(d.path)+": ") || !strings.Contains(said, tt.want) {
				t.Errorf("said %q, want the base's name and %q", said, tt.want)
			}
			wantFiles(t, dir)
		})
	}
}

// needsRecovery copies the image while the kernel has it mounted: as a card that
// was pulled out.
func needsRecovery(t *testing.T, d disk) {
	mounted := copyDisk(t, d)
	mounted.change(t, func(root string) {
		writeFile(t, filepath.Join(root, "etc/hostname"), "changed\n")
		judge(t, "sync", "-f", root)
		judge(t, "cp", "--sparse=always", mounted.path, d.path)
	})
}

// fillRoot leaves 4 MiB: the program alone has 7 MB. ext4 is told to reserve no room for
// itself while it is mounted.
func fillRoot(t *testing.T, d disk) {
	d.change(t, func(root string) {
		loop := filepath.Base(strings.TrimSpace(judge(t, "findmnt", "-n", "-o", "SOURCE", root)))
		writeFile(t, "/sys/fs/ext4/"+loop+"/reserved_clusters", "0")
		f, err := os.Create(filepath.Join(root, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		end := int64(0)
		for piece := int64(64 << 20); piece > 1<<20; {
			if err := unix.Fallocate(int(f.Fd()), 0, end, piece); err != nil {
				piece /= 2
				continue
			}
			end += piece
		}
		if err := f.Truncate(end - 4<<20); err != nil {
			t.Fatal(err)
		}
	})
}

// useInodes leaves 400 inodes: 252 roots and as many files need more.
func useInodes(t *testing.T, d disk) {
	d.change(t, func(root string) {
		var stat unix.Statfs_t
		if err := unix.Statfs(root, &stat); err != nil {
			t.Fatal(err)
		}
		for n := range stat.Ffree - 400 {
			dir := filepath.Join(root, fmt.Sprint("filler", n/10000))
			if n%10000 == 0 {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Mknod(filepath.Join(dir, fmt.Sprint(n)), unix.S_IFREG|0o644, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func makeGPT(t *testing.T, d disk) {
	writeTable := fmt.Sprintf("printf 'label: gpt\\nstart=%d, size=%d\\nstart=%d, size=%d\\n' | sfdisk --quiet --force --wipe never %s",
		d.boot/512, d.bootSize/512, d.root/512, d.rootSize/512-64, d.path)
	judge(t, "sh", "-c", writeTable)
}

func zero(t *testing.T, path string, offset int64, size int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, size), offset); err != nil {
		t.Fatal(err)
	}
}

func setOSRelease(text string) func(*testing.T, disk) {
	return func(t *testing.T, d disk) {
		d.change(t, func(root string) { writeFile(t, filepath.Join(root, "usr/lib/os-release"), text) })
	}
}

// TestFullDisk builds on disks that are too small: for the data of the images, which is
// said before the work begins, or for what growing makes of it. An image has 400 MB, and
// growing needs its root twice.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := releases[0]
	image := publish(t, r, base.Path(t, r.name))
	for _, tt := range []struct {
		name, size string
		args       []string
		want       string
	}{
		{"the first image", "100M", []string{"--nodes", "0", "--no-nat"},
			`clusterctrl: DIR: the unpacked image needs at least 0\.[0-9]+ GB, and 0\.10 GB are free: make room, or name another directory`},
		{"the second image", "600M", []string{"--nodes", "0"},
			`clusterctrl: DIR: 2 images need at least 0\.[0-9]+ GB, and 0\.63 GB are free: make room, or name another directory`},
		{"growing", "600M", []string{"--nodes", "0", "--no-nat", "--grow", "200M"},
			`warning: DIR: the unpacked image needs up to 2\.15 GB, and 0\.63 GB are free\nclusterctrl: .*: no space left on device`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tmpfs(t, tt.size)
			cmd := clusterctrl(t, append([]string{"build", image, "-o", dir}, tt.args...)...)
			said, err := cmd.CombinedOutput()
			want := strings.ReplaceAll(tt.want, "DIR", regexp.QuoteMeta(dir))
			if cmd.ProcessState.ExitCode() != 1 || !regexp.MustCompile("^"+want+"\n$").Match(said) {
				t.Errorf("%v, said\n%s\nwant exit status 1 and\n%s", err, said, want)
			}
			wantFiles(t, dir)
		})
	}
}

// TestInterrupted presses Ctrl-C, or closes the terminal, as each part of the work
// starts.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := releases[0]
	image := publish(t, r, base.Path(t, r.name))
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, unix.SIGHUP) // the program would ignore it if nohup(1) started this test
	defer signal.Stop(hangUp)
	for part, signal := range map[string]unix.Signal{"unpack": unix.SIGHUP, "checksums": unix.SIGINT} {
		t.Run(part, func(t *testing.T) {
			dir := t.TempDir()
			cmd := clusterctrl(t, "build", image, "--nodes", "3", "--sums", "-o", dir)
			cmd.Args = cmd.Args[:len(cmd.Args)-1] // it is to say what it does
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var last string
			lines := bufio.NewScanner(stderr)
			for lines.Scan() {
				if last = lines.Text(); strings.HasPrefix(last, part+": ") && !strings.Contains(last, "done") {
					if err := cmd.Process.Signal(signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			err = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 130 || last != "clusterctrl: interrupted" {
				t.Errorf("%v, the last line %q; want exit status 130 and \"clusterctrl: interrupted\"", err, last)
			}
			wantFiles(t, dir)
		})
	}
}
