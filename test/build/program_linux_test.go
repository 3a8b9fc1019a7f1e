// Package build_test builds images from real bases with the real program and
// judges them by other programs than ours: the kernel's ext4, mtools, e2fsck,
// fsck.fat, sfdisk, systemctl and openssl. What it expects is written down here by
// hand, from the specification.
//
// It loop-mounts, so it needs root.
package build_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const moduleRoot = "../.."

// makeProgram makes the program that users get, with the one for the Pi inside.
var makeProgram = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("make", "-C", moduleRoot, "bin/clusterctrl").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return filepath.Abs(moduleRoot + "/bin/clusterctrl")
})

// clusterctrl returns a run of the program that shows no progress. The directory for its
// temporary files must be empty in the end.
func clusterctrl(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := makeProgram()
	if err != nil {
		t.Fatalf("make bin/clusterctrl: %v", err)
	}
	temporary := t.TempDir()
	t.Cleanup(func() { wantFiles(t, temporary) })
	cmd := exec.Command(program, append(args, "--quiet")...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary, "SOURCE_DATE_EPOCH=")
	return cmd
}

// output runs a program that must succeed, and returns what it prints.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, stdout, &stderr)
	}
	return string(stdout)
}

// refused runs a program that must fail with status 1 and one line on standard
// error, which it returns without the newline.
func refused(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%v: %v; want exit status 1", cmd, err)
	}
	if stdout.Len() > 0 {
		t.Errorf("%v printed %q; want nothing", cmd, &stdout)
	}
	line, ok := strings.CutSuffix(stderr.String(), "\n")
	if !ok || strings.Contains(line, "\n") {
		t.Errorf("%v said %q; want one line", cmd, &stderr)
	}
	return line
}

// judge runs another program, of a Debian package that test/tools.sh installs.
func judge(t testing.TB, name string, args ...string) string {
	t.Helper()
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		name = path
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s\n(test/tools.sh installs what is missing; mounting needs root)", cmd, err, out)
	}
	return string(out)
}

// wantFiles compares the names of the files in a directory, in order.
func wantFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("files %q, want %q", got, want)
	}
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
