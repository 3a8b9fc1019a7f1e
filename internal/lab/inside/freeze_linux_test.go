package inside

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// freeze is a script that stops all other processes of its PID namespace, as PID 1 does when
// it shuts a system down, and then one of them. Each time it asks that one for an answer, and
// says whether the answer comes or the process is stopped.
const freeze = `
mkfifo questions && : >answers
exec 3<>questions
cat <&3 >>answers &
outcome() {
	before=$(wc -c <answers)
	echo question >&3
	while :; do
		if grep -q '^State:.T' /proc/$!/status; then echo stopped; return; fi
		if [ $(wc -c <answers) -gt $before ]; then echo answers; return; fi
	done
}
outcome
kill -STOP -1; outcome
kill -STOP $!; outcome
kill -KILL $!`

// TestForbidFreezing stops processes in a PID namespace, in which nothing else is: all of
// them, which does nothing, and one, which does.
func TestForbidFreezing(t *testing.T) {
	const inside = "CLUSTERCTRL_TEST_FREEZE"
	if os.Getenv(inside) != "" {
		runtime.LockOSThread()
		if os.Getenv(inside) == "yes" {
			if err := forbidFreezing(); err != nil {
				t.Fatal(err)
			}
		}
		// sh is the first process of the namespace, which kill(-1) spares; cat is its child.
		t.Fatal(unix.Exec("/usr/bin/unshare", []string{"unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", freeze}, os.Environ()))
	}
	for forbidden, want := range map[string]string{
		"yes": "answers\nanswers\nstopped\n",
		"no":  "answers\nstopped\nstopped\n", // so that the test can fail
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestForbidFreezing$")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), inside+"="+forbidden)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		if string(out) != want || err != nil {
			t.Errorf("forbidden: %s: %v (as root)\n%swant\n%s", forbidden, err, out, want)
		}
	}
}
