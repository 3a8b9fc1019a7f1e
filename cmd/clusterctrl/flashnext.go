package main

import (
	"errors"
	"fmt"

	"clusterctrl/internal/image/card"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// A series is cards that are written one after the other.
type series struct {
	flashFlags
	cmd     *cobra.Command
	src     *provision.Source
	reader  *card.Reader
	journal *card.Journal
	ranges  []card.Range // of what all roles have in common, unless they are branded
}

// runNext writes the cards of roles one after the other.
func (f flashFlags) runNext(cmd *cobra.Command, image string, words []string) error {
	if f.file {
		return usagef("--next and --file: want one of them")
	}
	if err := named(cmd, "journal"); err != nil {
		return err
	}
	roles, err := parseRoles(words)
	if err != nil {
		return err
	}
	if err := f.canAsk(cmd); err != nil {
		return err
	}
	src, done, err := f.open(cmd, image)
	if err != nil {
		return err
	}
	defer done()
	s := series{flashFlags: f, cmd: cmd, src: src}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.journal.Close()
	for i, role := range roles {
		if e, done := s.journal.Entry(role.String()); done {
			s.say("%v was written on %s", role, e.Written.Local().Format("2006-01-02 15:04"))
			continue
		}
		err := s.role(role, i == len(roles)-1)
		if errors.Is(err, errBetween) {
			s.say("to go on with %v, run the same command again", role)
			return errInterrupted
		}
		if err != nil {
			return err
		}
	}
	if !f.json {
		say(cmd, "%s", firstStart(nodesAmong(roles)))
	}
	return nil
}

// begin finds out what all roles have in common, and what was written before.
func (s *series) begin() error {
	image, err := s.src.Common(s.cmd.Context())
	if err != nil {
		return err
	}
	if err := s.look(s.cmd, s.src); err != nil {
		return err
	}
	s.ranges = s.flashFlags.ranges(image)
	digest, err := card.Digest(s.cmd.Context(), image, s.ranges)
	if err != nil {
		return err
	}
	if s.branded {
		digest += "-branded"
	}
	if s.reader, err = card.NewReader(s.policy(), image.Size()); err != nil {
		return err
	}
	s.reader.Refused = func(err error) { s.tell(event{Event: "refused", Error: err.Error()}, "no card: "+err.Error()) }
	s.journal, err = card.OpenJournal(s.flashFlags.journal, digest)
	return err
}

// errBetween says that the user ended the series while no card was being written.
var errBetween = errors.New("ended between two cards")

// role writes cards for a role until one is good.
func (s *series) role(role node.Role, last bool) error {
	for {
		s.tell(event{Event: "insert", Role: role.String()}, fmt.Sprintf("put in the card for %v", role))
		disk, err := s.reader.Await(s.cmd.Context())
		if err != nil {
			return s.between(err)
		}
		result, err := s.card(role, disk)
		switch {
		case errors.Is(err, errNo):
			s.reader.Skip(disk)
			s.say("%s stays as it is", disk.Path)
			continue
		case err != nil:
			return s.between(err)
		}
		if result.Err != nil && s.cmd.Context().Err() != nil {
			return result.Err
		}
		if last && result.Err == nil {
			s.say("take it out, and write %v on it: it was the last", role)
			return nil
		}
		removal, what := event{Event: "remove", Role: role.String(), Path: disk.Path}, fmt.Sprintf("take it out, and write %v on it", role)
		if result.Err != nil {
			removal.Error, what = result.Err.Error(), fmt.Sprintf("%v: take it out", result.Err)
		}
		s.tell(removal, what)
		if err := card.AwaitGone(s.cmd.Context(), disk); err != nil && result.Err == nil {
			return nil // the next role finds out that it is over
		} else if err != nil {
			return s.between(err)
		}
		if result.Err == nil {
			return nil
		}
	}
}

// between tells an interrupt between two cards from other errors.
func (s *series) between(err error) error {
	if s.cmd.Context().Err() != nil {
		return errBetween
	}
	return err
}

// card writes a card and notes that it did. Its error ends the series, unless it is
// errNo.
func (s *series) card(role node.Role, disk card.Disk) (card.Result, error) {
	image, err := s.src.Role(s.cmd.Context(), role)
	if err != nil {
		return card.Result{}, err
	}
	job := card.Job{Name: role.String(), Disk: disk, Image: image, Ranges: s.ranges}
	if s.branded {
		job.Ranges = s.flashFlags.ranges(image)
	}
	if err := s.consent(s.cmd, []card.Job{job}); err != nil {
		return card.Result{}, err
	}
	if job.Device, err = card.Open(disk, image.Size()); err != nil {
		return card.Result{Name: job.Name, Disk: disk, Err: err}, nil
	}
	result := s.write(s.cmd, []card.Job{job})[0]
	if err := s.print(s.cmd, result); err != nil {
		return result, err
	}
	if result.Err != nil {
		return result, nil
	}
	return result, s.journal.Add(result)
}

// say prints a line for people, none where programs read the output.
func (s *series) say(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.cmd.ErrOrStderr(), format+"\n", args...)
	}
}

// tell tells a program of an event, or a person in words.
func (s *series) tell(e event, words string) {
	if s.json {
		(&eventWriter{w: s.cmd.OutOrStdout()}).write(e)
		return
	}
	fmt.Fprintln(s.cmd.ErrOrStderr(), words)
}
