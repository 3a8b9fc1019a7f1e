package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"clusterctrl/internal/node"
)

// ownChain is our chain in the tables of iptables.
const ownChain = "CLUSTERCTRL"

// An xtable is our part of a table of iptables: our chain with its rules, and the chain
// that calls ours before its own rules.
type xtable struct {
	name, from string
	rules      []string
}

var xtables = []xtable{
	{"nat", "POSTROUTING", []string{"-s " + node.GadgetNet.String() + " ! -o " + node.Bridge + " -j MASQUERADE"}},
	{"filter", "FORWARD", []string{
		"-i " + node.Bridge + " ! -o " + node.Bridge + " -j ACCEPT",
		"-o " + node.Bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	}},
}

// An iptables is the name of the program. It is run so that it waits while another one
// changes the rules.
type iptables string

// findIPTables prefers iptables-legacy, which is for the kernel's older tables: the
// other iptables needs nf_tables.
func findIPTables() (iptables, error) {
	for _, name := range []string{"iptables-legacy", "iptables"} {
		if file, err := exec.LookPath(name); err == nil {
			return iptables(file), nil
		}
	}
	return "", errors.New("iptables is not installed either: apt-get install iptables")
}

func (p iptables) run(table, words string) error {
	args := append([]string{"-w", "-t", table}, strings.Fields(words)...)
	out, err := exec.Command(string(p), args...).CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s -t %s %s: %w: %s", p, table, words, err, line)
	}
	return nil
}

// has reports whether iptables answers yes to a question, by -S or -C.
func (p iptables) has(table, words string) bool { return p.run(table, words) == nil }

func startIPTables() error {
	p, err := findIPTables()
	if err != nil {
		return err
	}
	for _, t := range xtables {
		var todo []string
		if !p.has(t.name, "-S "+ownChain) {
			todo = append(todo, "-N "+ownChain)
		}
		todo = append(todo, "-F "+ownChain)
		for _, rule := range t.rules {
			todo = append(todo, "-A "+ownChain+" "+rule)
		}
		if call := t.from + " -j " + ownChain; !p.has(t.name, "-C "+call) {
			todo = append(todo, "-I "+call)
		}
		if err := p.runAll(t.name, todo); err != nil {
			return err
		}
	}
	return nil
}

func stopIPTables() error {
	inUse, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p, err := findIPTables()
	if err != nil || strings.TrimSpace(string(inUse)) == "" {
		return nil // and so none of our rules
	}
	for _, t := range xtables {
		var todo []string
		if p.has(t.name, "-C "+t.from+" -j "+ownChain) {
			todo = append(todo, "-D "+t.from+" -j "+ownChain)
		}
		if p.has(t.name, "-S "+ownChain) {
			todo = append(todo, "-F "+ownChain, "-X "+ownChain)
		}
		if err := p.runAll(t.name, todo); err != nil {
			return err
		}
	}
	return nil
}

func (p iptables) runAll(table string, todo []string) error {
	for _, words := range todo {
		if err := p.run(table, words); err != nil {
			return err
		}
	}
	return nil
}
