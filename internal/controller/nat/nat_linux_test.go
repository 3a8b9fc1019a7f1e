package nat

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// TestRules asks nft, in a network namespace of its own, what the rules are.
func TestRules(t *testing.T) {
	enterNamespace(t)
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

func enterNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("want root, to make a network namespace")
	}
	runtime.LockOSThread() // and never unlocked: the thread goes with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// TestIPTables has iptables list the rules that were made with it. Rules of others stay
// as they are.
func TestIPTables(t *testing.T) {
	enterNamespace(t)
	const foreign = "-A FORWARD -i wlan0 -j DROP"
	mustRun(t, "iptables-legacy "+foreign)
	mustRun(t, "iptables-legacy -P FORWARD DROP")
	saved := func() string {
		var rules []string
		for line := range strings.Lines(mustRun(t, "iptables-legacy-save")) {
			if !strings.HasPrefix(line, "#") {
				rules = append(rules, regexp.MustCompile(` \[.*\]`).ReplaceAllString(line, ""))
			}
		}
		return strings.Join(rules, "")
	}
	before := saved()
	for range 2 {
		if err := startIPTables(); err != nil {
			t.Fatal(err)
		}
		const want = `*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:CLUSTERCTRL -
-A POSTROUTING -j CLUSTERCTRL
-A CLUSTERCTRL -s 172.19.181.0/24 ! -o br0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:CLUSTERCTRL -
-A FORWARD -j CLUSTERCTRL
-A FORWARD -i wlan0 -j DROP
-A CLUSTERCTRL -i br0 ! -o br0 -j ACCEPT
-A CLUSTERCTRL -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`
		if diff := cmp.Diff(want, saved()); diff != "" {
			t.Fatalf("iptables-legacy-save, -want +got:\n%s", diff)
		}
	}
	for range 2 {
		if err := Stop(); err != nil {
			t.Fatal(err)
		}
		if got := saved(); !strings.HasSuffix(got, before) || strings.Contains(got, ownChain) {
			t.Fatalf("left:\n%s\nwant\n%s", got, before)
		}
	}
}

// TestNoIPTables: on a machine that has neither nf_tables nor iptables, a start says what
// to install, and a stop has nothing to take away.
func TestNoIPTables(t *testing.T) {
	enterNamespace(t)
	t.Setenv("PATH", t.TempDir())
	if err := startIPTables(); err == nil || !strings.Contains(err.Error(), "apt-get install iptables") {
		t.Errorf("startIPTables() = %v", err)
	}
	if err := Stop(); err != nil {
		t.Errorf("Stop() = %v", err)
	}
}

// TestDropping sets up firewalls that drop unknown packets, in each of the ways in which
// firewalls do so.
func TestDropping(t *testing.T) {
	enterNamespace(t)
	if err := Start(); err != nil {
		t.Fatal(err)
	}
	wantDropping := func(want ...string) {
		t.Helper()
		got, err := Dropping()
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	}
	mustRun(t, "nft add table ip6 own { chain forward { type filter hook forward priority 0 ; policy drop ; } ; }")
	mustRun(t, "nft add table inet own { chain input { type filter hook input priority 0 ; policy drop ; } ; }")
	mustRun(t, "iptables-nft -P FORWARD ACCEPT")
	wantDropping()
	mustRun(t, "iptables-nft -P FORWARD DROP") // ufw; docker, where it turned on forwarding
	mustRun(t, "nft add table inet firewall { chain passing { type filter hook forward priority 10 ; policy drop ; } ; }")
	wantDropping("filter FORWARD", "firewall passing")
}

func mustRun(t *testing.T, words string) string {
	t.Helper()
	args := strings.Fields(words)
	if args[0] == "nft" {
		args = []string{"nft", strings.Join(args[1:], " ")}
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s (packages nftables, iptables): %v\n%s", words, err, out)
	}
	return string(out)
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft (package nftables): %v\n%s", err, out)
	}
	return string(out)
}
