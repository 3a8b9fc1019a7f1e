package build_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clusterctrl/test/base"
	"github.com/google/go-cmp/cmp"
)

// A release is what there is to know of a base image and the images that are
// built from it.
type release struct {
	name      string
	published string // what the vendor would call the base
	prefix    string // of the outputs' names
	words     string // of the outputs' command lines, before ours
	changed   string // in the root, besides what changes in all releases
	archived  string // in an archive for nodes without cards, in the same way
	time      int64  // when the base was written: 2025-05-13, 2025-10-01
	network   string // as inspect calls it
	cloudInit bool
	files     []content // besides those of all releases
}

var releases = []release{
	{
		name:      base.Bookworm,
		published: "2025-05-13-raspios-bookworm-arm64-lite.img",
		prefix:    "2025-05-13-1-bookworm-ClusterCTRL-arm64-lite-",
		// The vendor's init=/usr/lib/raspberrypi-sys-mods/firstboot is out, our mark in.
		words:    "console=serial0,115200 console=tty1 root=PARTUUID=b00cb00c-02 rootfstype=ext4 fsck.repair=yes rootwait quiet clusterctrl.vendor",
		changed:  changedInBookworm,
		archived: archivedFromBookworm,
		time:     1747094400,
		network:  "ifupdown",
		files:    bookwormFiles,
	},
	{
		name:      base.Trixie,
		published: "2025-10-01-raspios-trixie-arm64-lite.img",
		prefix:    "2025-10-01-1-trixie-ClusterCTRL-arm64-lite-",
		// Trixie's initramfs grows the root if it finds the word resize: it stays.
		words:     "console=serial0,115200 console=tty1 root=PARTUUID=731c1e00-02 rootfstype=ext4 fsck.repair=yes rootwait quiet resize",
		changed:   changedInTrixie,
		archived:  archivedFromTrixie,
		time:      1759276800,
		network:   "networkmanager",
		cloudInit: true,
		files:     trixieFiles,
	},
}

// A built is a release with its outputs, CBRIDGE, CNAT and p1 to p3.
type built struct {
	release
	base, dir          string
	controller         disk
	root, boot         string // the controller's trees
	rootTree, bootTree tree
	baseRoot, baseBoot tree
}

// publish lets the base appear under the name that it would be published as.
func publish(t *testing.T, r release, path string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), r.published)
	if err := os.Symlink(path, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func build(t *testing.T, r release) built {
	t.Helper()
	b := built{release: r, base: publish(t, r, base.Path(t, r.name)), dir: t.TempDir()}
	output(t, clusterctrl(t, "build", b.base, "--nodes", "3", "--sums", "-o", b.dir))
	b.controller = openDisk(t, b.image("CBRIDGE"))
	b.root, b.boot = b.controller.mount(t), b.controller.bootTree(t)
	b.rootTree, b.bootTree = readTree(t, b.root), readTree(t, b.boot)
	stock := openDisk(t, b.base)
	b.baseRoot, b.baseBoot = readTree(t, stock.mount(t)), readTree(t, stock.bootTree(t))
	return b
}

// image returns the path of the output that is called role.
func (r built) image(role string) string {
	return filepath.Join(r.dir, r.prefix+role+".img")
}

var roles = []string{"CBRIDGE", "CNAT", "p1", "p2", "p3"}

// TestOutputs builds from each base once, as a user would who has no settings.
func TestOutputs(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			before := sum(t, base.Path(t, r.name))
			b := build(t, r)
			t.Run("names", b.testNames)
			t.Run("sums", b.testSums)
			t.Run("clean", b.testClean)
			t.Run("sectors", b.testSectors)
			t.Run("changes", b.testChanges)
			t.Run("files", b.testFiles)
			t.Run("programs", b.testPrograms)
			t.Run("config.txt", b.testConfig)
			t.Run("units", b.testUnits)
			t.Run("inspect", b.testInspect)
			t.Run("dry run", b.testDryRun)
			t.Run("nodes", b.testNodes)
			t.Run("same bytes", b.testSameBytes)
			t.Run("grow", b.testGrow)
			t.Run("built twice", b.testBuiltTwice)
			if after := sum(t, base.Path(t, r.name)); after != before {
				t.Errorf("the base changed: SHA-256 %s, was %s", after, before)
			}
		})
	}
}

func (b built) testNames(t *testing.T) {
	var want []string
	for _, role := range roles {
		want = append(want, b.prefix+role+".img")
	}
	wantFiles(t, b.dir, append(want, "SHA256SUMS")...)
}

// testSums lets Go sum up an image, and sha256sum, which is many times slower,
// another of one release.
func (b built) testSums(t *testing.T) {
	list := readFile(t, filepath.Join(b.dir, "SHA256SUMS"))
	lines := strings.SplitAfter(strings.TrimSuffix(list, "\n"), "\n")
	if len(lines) != len(roles) {
		t.Fatalf("SHA256SUMS is\n%swant %d lines", list, len(roles))
	}
	for i, role := range roles {
		if !strings.HasSuffix(strings.TrimSpace(lines[i]), "  "+b.prefix+role+".img") {
			t.Errorf("SHA256SUMS has a line %q, want one for %s", lines[i], role)
		}
	}
	if got := sum(t, b.image("CBRIDGE")); !strings.HasPrefix(lines[0], got+" ") {
		t.Errorf("SHA256SUMS has a line %q, want %s", lines[0], got)
	}
	if b.name != base.Bookworm {
		return
	}
	p1 := filepath.Join(t.TempDir(), "p1")
	writeFile(t, p1, lines[2])
	if got, want := judge(t, "env", "--chdir="+b.dir, "sha256sum", "--strict", "-c", p1), b.prefix+"p1.img: OK\n"; got != want {
		t.Errorf("sha256sum says %q, want %q", got, want)
	}
}

func sum(t testing.TB, path string) string {
	t.Helper()
	f := open(t, path)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (b built) testClean(t *testing.T) {
	for _, role := range roles {
		openDisk(t, b.image(role)).wantClean(t)
	}
}

// testSectors compares each image with the controller's: they differ in the one
// sector that starts with the command line, which has room for any role.
func (b built) testSectors(t *testing.T) {
	const ours = " init=/usr/sbin/reconfig-clusterctrl "
	lines := map[string]string{
		"CBRIDGE": "cbridge\n",
		"CNAT":    "cnat   \n",
		"p1":      "p1     \n",
		"p2":      "p2     \n",
		"p3":      "p3     \n",
	}
	for role, end := range lines {
		want := b.words + ours + end
		if got := openDisk(t, b.image(role)).bootFile(t, "cmdline.txt"); got != want {
			t.Errorf("%s: cmdline.txt is %q, want %q", role, got, want)
		}
		if role == "CBRIDGE" {
			continue
		}
		sectors := differing(t, b.image("CBRIDGE"), b.image(role))
		if len(sectors) != 1 {
			t.Errorf("%s differs from the controller's image in sectors %v, want one", role, sectors)
			continue
		}
		got := make([]byte, 512)
		f := open(t, b.image(role))
		if _, err := f.ReadAt(got, sectors[0]*512); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if want += strings.Repeat("\x00", 512-len(want)); string(got) != want {
			t.Errorf("%s: sector %d is %q, want %q", role, sectors[0], got, want)
		}
	}
}

func (b built) testChanges(t *testing.T) {
	wantChanges(t, b.baseRoot, b.rootTree, changedInAll, perNode(), b.changed)
	wantChanges(t, b.baseBoot, b.bootTree, changedInBoot)
	wantTime(t, b.baseRoot, b.rootTree, b.time)
	wantTime(t, b.baseBoot, b.bootTree, b.time)
}

// testPrograms takes the image's programs apart: they must be what make built for
// the Pi, and need nothing that the Pi might not have.
func (b built) testPrograms(t *testing.T) {
	for _, name := range []string{"clusterctrl", "reconfig-clusterctrl"} {
		testProgram(t, filepath.Join(b.root, "usr/sbin", name), moduleRoot+"/bin/pi/"+name+"-arm64")
	}
}

func testProgram(t *testing.T, name, want string) {
	if readFile(t, name) != readFile(t, want) {
		t.Errorf("%s is not %s", name, want)
	}
	program, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	dynamic := slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	if program.Machine != elf.EM_AARCH64 || dynamic {
		t.Errorf("%s for %v, dynamic: %t; want a static one for AArch64", name, program.Machine, dynamic)
	}
}

// testUnits asks systemctl, which follows [Install] and presets by its own code.
func (b built) testUnits(t *testing.T) {
	for unit, want := range map[string]string{
		"clusterctrl-init.service":      "enabled",
		"clusterctrl-hostkeys.service":  "enabled",
		"clusterctrl-composite.service": "disabled", // a node's
		"clusterctrl-disk.path":         "enabled",
		"clusterctrl-clock.service":     "enabled",
		"clusterctrl-rpiboot.service":   "disabled", // until somebody wants it
		"serial-getty@ttyGS0.service":   "disabled", // a node's
	} {
		got, _ := systemctl(b.root, unit)
		if got != want {
			t.Errorf("%s is %s, want %s", unit, got, want)
		}
	}
	judge(t, "systemd-analyze", "verify", "--man=no", "--root="+b.root, "clusterctrl-init.service",
		"clusterctrl-hostkeys.service", "clusterctrl-composite.service", "clusterctrl-rpiboot.service", "clusterctrl-disk.path", "clusterctrl-disk.service", "clusterctrl-clock.service")
}

func (b built) testInspect(t *testing.T) {
	diskID := b.words[strings.Index(b.words, "PARTUUID=")+9:][:8]
	for role, pending := range map[string]string{"CBRIDGE": "cbridge", "CNAT": "cnat", "p3": "p3"} {
		var got struct {
			Size       int64
			DiskID     string `json:"disk_id"`
			Partitions []struct{ Start, Size int64 }
			OS         map[string]any
			Role, Host string
			Line       string `json:"command_line"`
		}
		if err := json.Unmarshal([]byte(output(t, clusterctrl(t, "inspect", "--json", b.image(role)))), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"release": b.name, "arch": "arm64", "flavour": "lite",
			"boot": "boot/firmware", "network": b.network, "cloud_init": b.cloudInit,
		}
		if diff := cmp.Diff(want, got.OS); diff != "" {
			t.Errorf("%s: - wanted, + got:\n%s", role, diff)
		}
		if got.Size != 2<<30 || got.DiskID != diskID || got.Role != pending || got.Host != "cbridge" ||
			got.Line != b.words+" init=/usr/sbin/reconfig-clusterctrl "+pending {
			t.Errorf("%s: inspect says %+v", role, got)
		}
		p := got.Partitions
		if len(p) != 2 || p[0].Start != b.controller.boot || p[0].Size != 512<<20 || p[1].Start != b.controller.root || p[1].Size != b.controller.rootSize {
			t.Errorf("%s: partitions %+v, sfdisk says %+v", role, p, b.controller)
		}
	}
}
