// Package labtest makes what tests boot in a lab: Debian's kernels, an initramfs
// with modules and a Go program as /init, and cards.
//
// What is missing on the test's machine fails the test with the name of the
// package to install.
package labtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// An Arch is an architecture that both Debian and Go have.
type Arch string

const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
	ARMv6 Arch = "armel" // Pi Zero and 1
)

// environment is what makes Go build for the architecture.
func (a Arch) environment() []string {
	if a == ARMv6 {
		return []string{"GOARCH=arm", "GOARM=6"}
	}
	return []string{"GOARCH=" + string(a)}
}

// Program builds the Go program in a directory, static and for Linux, and
// returns its path.
func Program(t testing.TB, arch Arch, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(dir))
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	build.Dir = dir
	build.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), arch.environment()...)
	run(t, build)
	return out
}

// here is the directory of this package's source.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// run runs a program of the test's machine and returns what it prints.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return string(out)
}
