package nat

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRules asks nft, in a network namespace of its own, what the rules are.
func TestRules(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("want root, to make a network namespace")
	}
	runtime.LockOSThread() // and never unlocked: the thread goes with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second start changes nothing
		if err := Start(); err != nil {
			t.Fatal(err)
		}
		const want = `table ip clusterctrl {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.19.181.0/24 oifname != "br0" masquerade
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "br0" oifname != "br0" accept
		oifname "br0" ct state established,related accept
	}
}
`
		if got := ruleset(t); got != want {
			t.Fatalf("nft lists\n%s\nwant\n%s", got, want)
		}
	}
	for range 2 {
		if err := Stop(); err != nil {
			t.Fatal(err)
		}
		if got := ruleset(t); strings.TrimSpace(got) != "" {
			t.Fatalf("nft still lists\n%s", got)
		}
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft (package nftables): %v\n%s", err, out)
	}
	return string(out)
}
