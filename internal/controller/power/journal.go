package power

import (
	"fmt"
	"os"
	"os/user"

	"github.com/coreos/go-systemd/v22/journal"
)

// Journal notes in the system's journal what was done to a node, and which user wanted
// it. On a system without a journal it does nothing.
func (s Step) Journal() error {
	if !journal.Enabled() {
		return nil
	}
	outcome, priority := "done", journal.PriInfo
	switch {
	case s.Err != nil:
		outcome, priority = s.Err.Error(), journal.PriErr
	case s.Already:
		outcome = "it was " + word(s.On) + " already"
	}
	who := caller()
	return journal.Send(fmt.Sprintf("%s switches %v %s: %s", who, s.Node, word(s.On), outcome), priority, map[string]string{
		"SYSLOG_IDENTIFIER": "clusterctrl",
		"CLUSTERCTRL_NODE":  s.Node.String(),
		"CLUSTERCTRL_BOARD": s.Board,
		"CLUSTERCTRL_POWER": word(s.On),
		"CLUSTERCTRL_USER":  who,
	})
}

// caller is the name of the user who runs the program, also through sudo. It believes
// sudo's variable of root only: any other user may have set it to any name.
func caller() string {
	if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		return name
	}
	if me, err := user.Current(); err == nil {
		return me.Username
	}
	return fmt.Sprint("uid ", os.Getuid())
}
