package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"clusterctrl/internal/format/xz"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/node"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func TestMain(m *testing.M) {
	programs := map[string]func(){"clusterctrl": main}
	programs[inventoryName] = main
	for _, alias := range node.Aliases {
		programs[path.Base(alias.Path)] = main
	}
	testscript.Main(m, programs)
}

// TestScripts runs the command as users do. PI_PROGRAM is the program for the Pi that a
// release carries, KERNEL a directory with Debian's kernel.
func TestScripts(t *testing.T) {
	kernel := labtest.NewKernel(t, labtest.ARM64)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("KERNEL", filepath.Dir(kernel.Image))
			env.Values[labRun{}] = new(labRun)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sample":   unpackSample,
			"poke":     poke,
			"fsck":     fsck,
			"sectors":  countSectors,
			"mtools":   boot,
			"card":     insertCard,
			"use":      useCard,
			"settings": withSettings,
			"lab-up":   labUpBehind,
			"lab-end":  labEnd,
			"website":  serveFiles,
			"noise":    writeNoise,
		},
	})
}

const (
	bootStart = 4 << 20 // of the sample's partitions, in bytes
	rootStart = 44 << 20
	sectorLen = 512
)

// unpackSample writes the sample image: sample FILE.
func unpackSample(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	_, err = xz.NewReader(bytes.NewReader(sample.Image), xz.DefaultMaxDict).WriteTo(f)
	ts.Check(err)
}

// poke overwrites bytes of a file: poke FILE OFFSET HEXBYTES, where @root or
// @boot in front of the offset counts from the start of the partition.
func poke(ts *testscript.TestScript, _ bool, args []string) {
	base := int64(0)
	text := args[1]
	if rest, ok := strings.CutPrefix(text, "@root"); ok {
		base, text = rootStart, rest
	}
	off, err := strconv.ParseInt(text, 0, 64)
	ts.Check(err)
	value, err := strconv.ParseUint(args[2], 16, 64)
	ts.Check(err)
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], value)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(p[:(len(args[2])+1)/2], base+off)
	ts.Check(err)
}

// fsck asks e2fsck and fsck.fat for their opinion of images.
func fsck(ts *testscript.TestScript, _ bool, args []string) {
	for _, image := range args {
		out, err := exec.Command("e2fsck", "-fn", ts.MkAbs(image)+"?offset="+strconv.Itoa(rootStart)).CombinedOutput()
		if err != nil {
			ts.Fatalf("e2fsck %s: %v\n%s", image, err, out)
		}
		part := ts.MkAbs(image) + ".boot"
		ts.Check(extract(ts.MkAbs(image), part, bootStart, rootStart-bootStart))
		out, err = exec.Command("fsck.fat", "-n", part).CombinedOutput()
		os.Remove(part)
		if err != nil {
			ts.Fatalf("fsck.fat %s: %v\n%s", image, err, out)
		}
	}
}

func extract(image, part string, start, size int64) error {
	src, err := os.Open(image)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(part)
	if err != nil {
		return err
	}
	defer dst.Close()
	_, err = io.Copy(dst, io.NewSectionReader(src, start, size))
	return err
}

// insertCard makes a disk of an image, and sets CARD to the name of the disk: card IMAGE.
func insertCard(ts *testscript.TestScript, _ bool, args []string) {
	out, err := exec.Command("losetup", "--find", "--show", ts.MkAbs(args[0])).Output()
	if err != nil {
		ts.Fatalf("losetup (as root): %v", err)
	}
	card := strings.TrimSpace(string(out))
	ts.Setenv("CARD", card)
	ts.Defer(func() { exec.Command("losetup", "--detach", card).Run() })
}

// useCard makes a disk busy for the rest of the script, as a mounted partition does: use
// DISK.
func useCard(ts *testscript.TestScript, _ bool, args []string) {
	card, err := os.OpenFile(args[0], os.O_RDWR|os.O_EXCL, 0)
	ts.Check(err)
	ts.Defer(func() { card.Close() })
}

// withSettings runs a command on a machine whose /etc/default is another directory:
// settings DIR COMMAND ARGS.
func withSettings(ts *testscript.TestScript, neg bool, args []string) {
	const script = `mount --bind "$0" /etc/default && exec "$@"`
	err := ts.Exec("unshare", append([]string{"--mount", "sh", "-c", script, ts.MkAbs(args[0])}, args[1:]...)...)
	if (err != nil) != neg {
		ts.Fatalf("%q (as root): %v", args, err)
	}
}

// writeNoise fills a file with bytes that occur in no image: noise FILE SIZE.
func writeNoise(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	ts.Check(err)
}

// serveFiles starts a web server for a directory, and sets SITE to its address: website
// DIR.
func serveFiles(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(server.Close)
	ts.Setenv("SITE", server.URL)
}

// countSectors checks in how many sectors files differ: sectors N FILE FILE.
func countSectors(ts *testscript.TestScript, _ bool, args []string) {
	a, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[2]))
	ts.Check(err)
	if len(a) != len(b) {
		ts.Fatalf("%d bytes and %d bytes", len(a), len(b))
	}
	n := 0
	for i := 0; i < len(a); i += sectorLen {
		if !bytes.Equal(a[i:i+sectorLen], b[i:i+sectorLen]) {
			n++
		}
	}
	if strconv.Itoa(n) != args[0] {
		ts.Fatalf("%d sectors differ, want %s", n, args[0])
	}
}

// boot runs an mtools command on the boot partition: mtools IMAGE COMMAND ARGS.
func boot(ts *testscript.TestScript, neg bool, args []string) {
	words := append([]string{"-i", ts.MkAbs(args[0]) + "@@" + strconv.Itoa(bootStart)}, args[2:]...)
	cmd := exec.Command(args[1], words...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	if (err != nil) != neg {
		ts.Fatalf("%s: %v\n%s", filepath.Base(args[1]), err, out)
	}
}
