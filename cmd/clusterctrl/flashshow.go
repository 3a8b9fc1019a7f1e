package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"clusterctrl/cmd/clusterctrl/progress"
	"clusterctrl/internal/image/card"
	"github.com/spf13/cobra"
)

// A listed disk is one with the reason why it is no card.
type listed struct {
	card.Disk
	Refused string `json:"refused"`
}

// listCards prints the disks that there are, cards first.
func listCards(cmd *cobra.Command, f flashFlags) error {
	disks, err := card.List()
	if err != nil {
		return err
	}
	cards, others := []listed{}, []listed{}
	for _, d := range disks {
		if err := f.policy().Check(d, 0); err != nil {
			others = append(others, listed{d, err.Error()})
		} else {
			cards = append(cards, listed{Disk: d})
		}
	}
	if f.json {
		return writeJSON(cmd.OutOrStdout(), append(cards, others...))
	}
	var text strings.Builder
	for _, c := range cards {
		text.WriteString(c.Describe() + "\n")
	}
	for _, o := range others {
		fmt.Fprintln(cmd.ErrOrStderr(), "no card:", o.Refused)
	}
	if len(cards) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "there is no card that could be written to")
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text.String())
	return err
}

// display shows progress, unless programs read it.
func (f flashFlags) display(cmd *cobra.Command) *progress.Display {
	if f.json {
		return nil
	}
	return display(cmd)
}

// report says what became of the cards.
func (f flashFlags) report(cmd *cobra.Command, results []card.Result) error {
	var failed []error
	for _, r := range results {
		failed = append(failed, r.Err)
		if err := f.print(cmd, r); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// print says on standard output what became of a card.
func (f flashFlags) print(cmd *cobra.Command, r card.Result) error {
	if f.json {
		return (&eventWriter{w: cmd.OutOrStdout()}).write(resultEvent(r))
	}
	if r.Err != nil {
		return nil // it is said at the end
	}
	how := "written and verified"
	if !r.Verified {
		how = "written, not verified"
	}
	if r.Note != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s: %s\n", r.Disk.Path, r.Note)
	}
	if r.Name == "" {
		return println(cmd.OutOrStdout(), fmt.Sprintf("%s: %s", r.Disk.Path, how))
	}
	when := "after its first boot"
	if f.branded {
		when = "at any time"
	}
	f.note(cmd, fmt.Sprintf("to check the card %s: clusterctrl verify %s --image %s", when, r.Name, r.Disk.Path))
	return println(cmd.OutOrStdout(), fmt.Sprintf("%s: %s: %s", r.Name, r.Disk.Path, how))
}

// note tells a person what may be of use.
func (f flashFlags) note(cmd *cobra.Command, text string) {
	if quiet, _ := cmd.Flags().GetBool("quiet"); !quiet && !f.json {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", text)
	}
}

// An event is a line of JSON.
type event struct {
	Event string `json:"event"` // "progress", "result", "insert", "remove" or "refused"
	Role  string `json:"role,omitempty"`
	Path  string `json:"path,omitempty"`

	Phase card.Phase `json:"phase,omitempty"` // of progress
	Done  *int64     `json:"done,omitempty"`  // bytes
	Total int64      `json:"total,omitempty"`

	Result *card.Result `json:"result,omitempty"`
	Error  string       `json:"error,omitempty"`
}

func resultEvent(r card.Result) event {
	e := event{Event: "result", Role: r.Name, Path: r.Disk.Path, Result: &r}
	if r.Err != nil {
		e.Error = r.Err.Error()
	}
	return e
}

// An eventWriter writes events, from several goroutines.
type eventWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *eventWriter) write(e event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.w.Write(append(line, '\n'))
	return err
}

// start begins to tell of a phase, once a second at most.
func (w *eventWriter) start(j card.Job, phase card.Phase, total int64) io.WriteCloser {
	p := &phaseEvents{w: w, event: event{Event: "progress", Role: j.Name, Path: j.Disk.Path, Phase: phase, Total: total}}
	p.tell()
	return p
}

// phaseEvents tell how far a phase of a card is.
type phaseEvents struct {
	w     *eventWriter
	event event
	done  int64
	told  time.Time
}

func (p *phaseEvents) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if time.Since(p.told) >= time.Second {
		p.tell()
	}
	return len(b), nil
}

func (p *phaseEvents) tell() {
	done := p.done
	p.event.Done, p.told = &done, time.Now()
	p.w.write(p.event)
}

func (p *phaseEvents) Close() error {
	p.tell()
	return nil
}
