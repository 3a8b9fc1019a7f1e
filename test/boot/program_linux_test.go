// Package boot_test boots what the program builds from real bases, and cuts the
// power while it makes itself what it is to be.
//
// What a booted system is to say of itself is written down here by hand, from the
// specification.
package boot_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
	"clusterctrl/internal/tree/rootfs"
)

// all has tests run that take an hour or more.
var all = flag.Bool("all", false, "boot every role on every base, and every cluster, and try every power cut")

const moduleRoot = "../.."

// wholeSystems says of a test that it boots so much that "make test-machines" runs
// it, not "make test".
func wholeSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("boots many whole systems: make test-machines")
	}
}

// withAll says of a test that only -all runs it.
func withAll(t *testing.T) {
	if !*all {
		t.Skip("takes most of an hour: make test-clusters")
	}
}

// makeProgram makes the program that users get, with the one for the Pi inside.
var makeProgram = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("make", "-C", moduleRoot, "bin/clusterctrl").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return filepath.Abs(moduleRoot + "/bin/clusterctrl")
})

// build builds images from a base and returns the one whose name ends so.
func build(t testing.TB, base, ending string, args ...string) string {
	t.Helper()
	program, err := makeProgram()
	if err != nil {
		t.Fatalf("make bin/clusterctrl: %v", err)
	}
	dir := t.TempDir()
	run(t, program, append([]string{"build", base, "-o", dir, "--quiet"}, args...)...)
	images, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(images) != 1 {
		t.Fatalf("images that end in %s: %q, %v; want one", ending, images, err)
	}
	return images[0]
}

// run runs a program that must succeed, and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	stdout, err := output(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

// output runs a program and returns what it prints. If it fails, that is in the
// error.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MTOOLS_SKIP_CHECK=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w\n%s%s", cmd, err, stdout, &stderr)
	}
	return string(stdout), err
}

// copyImage copies an image, its holes as holes.
func copyImage(t testing.TB, image string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "card.img")
	run(t, "cp", "--sparse=always", "--reflink=auto", image, name)
	return name
}

// change changes the files of an image.
func change(t testing.TB, image string, edit func(*rootfs.Image) error) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := rootfs.OpenImage(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(edit(tree), tree.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// newMachine builds a machine whose console is kept where go test -artifacts says.
func newMachine(t testing.TB, c lab.Config) (*lab.Machine, context.Context) {
	t.Helper()
	console, err := os.Create(filepath.Join(t.ArtifactDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	c.Transcript, ctx = labtest.Listen(t, console)
	m, err := lab.New(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), console.Close()); err != nil {
			t.Error(err)
		}
	})
	return m, ctx
}

func boot(t testing.TB, ctx context.Context, m *lab.Machine) *lab.Boot {
	t.Helper()
	b, err := m.Boot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// restarts waits until the machine restarts, having said all of texts in turn.
func restarts(t testing.TB, ctx context.Context, b *lab.Boot, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := b.Expect(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	if how, err := b.Wait(); how != lab.Restarted || err != nil {
		t.Fatalf("boot ended: %v, %v; want %v", how, err, lab.Restarted)
	}
}
