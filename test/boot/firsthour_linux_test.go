package boot_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"clusterctrl/test/base"
	"clusterctrl/test/readme"
)

const (
	anna       = "anna" // who the README is about
	herPhrase  = "correct horse"
	firstSteps = "A ClusterHAT in ten steps"
)

// TestFirstHour does what README's ten steps say, from the download to a command that runs
// on all nodes, and types the commands as they are there. It has files in place of cards, and
// a virtual cluster in place of the boards. Only with -all.
func TestFirstHour(t *testing.T) {
	withAll(t)
	atHome, onController := commandsOf(t, firstSteps)
	cards := prepare(t, atHome)
	c := up(t, cards...)
	ctx := c.listen(t)
	controller := c.connect(t, "cbridge")
	if err := controller.Login(ctx, anna, herPhrase); err != nil {
		t.Fatal(err)
	}
	for _, command := range onController {
		t.Log(command)
		do, known := answers[command]
		if !known {
			t.Errorf("README has the command %q, which this test has no check for", command)
			continue
		}
		do(t, ctx, controller, command)
	}
}

// answers are the checks of the commands on the controller.
var answers = map[string]func(t *testing.T, ctx context.Context, controller shell, command string){
	"clusterctrl on --wait all": func(t *testing.T, ctx context.Context, controller shell, command string) {
		// Emulated nodes take longer than real ones.
		out := controller.run(t, ctx, command+" --timeout 3h")
		for _, name := range hat {
			if want := name + ": link eth" + strings.Replace(name, "p", "pi", 1); !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", command, want, out)
			}
		}
	},
	"clusterctrl status": func(t *testing.T, ctx context.Context, controller shell, command string) {
		out := controller.run(t, ctx, command)
		for _, name := range hat {
			if !strings.Contains(out, name+":1\n") {
				t.Errorf("%s: %s is not on:\n%s", command, name, out)
			}
		}
	},
	"clusterctrl authorize all": func(t *testing.T, ctx context.Context, controller shell, command string) {
		for _, name := range hat { // whose SSH server comes later than the link
			controller.until(t, ctx, "ssh-keyscan 172.19.181."+name[1:]+" | grep -q ssh-")
		}
		say(t, ctx, controller, command, "Password: ")
		say(t, ctx, controller, herPhrase, hat[0]+": authorized")
		controller.run(t, ctx, "clusterctrl run all -- true") // all have been authorized
	},
	"clusterctrl ssh p1": func(t *testing.T, ctx context.Context, controller shell, command string) {
		say(t, ctx, controller, command, anna+"@p1:")
		say(t, ctx, controller, "exit", "closed.")
	},
	"clusterctrl run all -- uptime -p": func(t *testing.T, ctx context.Context, controller shell, command string) {
		out := controller.run(t, ctx, command)
		for _, name := range hat {
			if !strings.Contains(out, name+": up ") {
				t.Errorf("%s: nothing of %s in\n%s", command, name, out)
			}
		}
	},
}

// hat are the nodes of the ten steps.
var hat = []string{"p1", "p2", "p3", "p4"}

// say types a line, and waits for an answer.
func say(t *testing.T, ctx context.Context, s shell, line, answer string) {
	t.Helper()
	if err := s.Send(line); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expect(ctx, answer); err != nil {
		t.Fatal(err)
	}
}

// commandsOf returns the command lines under a heading of the README: those for the
// user's own computer, and those for the controller.
func commandsOf(t *testing.T, heading string) (atHome, onController []string) {
	t.Helper()
	all, err := readme.Sections(moduleRoot + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Heading != heading {
			continue
		}
		for _, b := range s.Blocks {
			for line := range strings.Lines(b.Commands) {
				if b.Mark == "needs a controller" {
					onController = append(onController, strings.TrimSpace(line))
				} else {
					atHome = append(atHome, strings.TrimSpace(line))
				}
			}
		}
	}
	if len(atHome) == 0 || len(onController) == 0 {
		t.Fatalf("README, %s: no commands", heading)
	}
	return atHome, onController
}

var flashing = regexp.MustCompile(`^sudo (clusterctrl flash \S+) (cbridge) p1-p4 --next$`)

// prepare runs the commands on the user's computer, in a directory with the download and
// the password, and returns the cards: the controller's first.
func prepare(t *testing.T, commands []string) (cards []string) {
	t.Helper()
	dir := t.TempDir()
	download := filepath.Join(dir, "2025-05-13-raspios-bookworm-arm64-lite.img")
	run(t, "cp", "--sparse=always", base.Path(t, base.Bookworm), download)
	change(t, download, giveTime)
	run(t, "xz", "-0", "-T2", download)
	if err := os.WriteFile(filepath.Join(dir, "secret.txt"), []byte(herPhrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		if m := flashing.FindStringSubmatch(command); m != nil {
			command = m[1] + " --file --yes"
			for _, role := range append(m[2:], hat...) {
				card := filepath.Join(dir, role+"-card.img")
				cards = append(cards, card)
				command += " " + role + "=" + card
			}
		}
		t.Log(command)
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+filepath.Dir(mustProgram(t))+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	if len(cards) == 0 {
		t.Fatal("README writes no cards in one reader")
	}
	for _, card := range cards {
		enlarge(t, card) // the vendor's first boot extends the root
	}
	return cards
}
