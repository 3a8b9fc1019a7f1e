package inside

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// freeze is a script that stops all processes of its PID namespace, as PID 1 does when it
// shuts a system down, and says what became of one.
const freeze = `sleep 1000 & kill -STOP -1; grep ^State: /proc/$!/status; kill -STOP $!; grep ^State: /proc/$!/status; kill -KILL $!`

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
		// The first process of a namespace is not stopped; sh is its child.
		t.Fatal(unix.Exec("/usr/bin/unshare", []string{"unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", freeze}, os.Environ()))
	}
	for forbidden, want := range map[string]string{
		"yes": "State:\tS (sleeping)\nState:\tT (stopped)\n",
		"no":  "State:\tT (stopped)\nState:\tT (stopped)\n", // so that the test can fail
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestForbidFreezing$")
		cmd.Env = append(os.Environ(), inside+"="+forbidden)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		if string(out) != want || err != nil {
			t.Errorf("forbidden: %s: %v (as root)\n%swant\n%s", forbidden, err, out, want)
		}
	}
}
