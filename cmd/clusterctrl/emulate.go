package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"clusterctrl/internal/lab"
	"github.com/spf13/cobra"
)

const emulateHelp = `Emulate boots an image on a Raspberry Pi that QEMU emulates, with its serial console
on this terminal. The Pi restarts as often as its system asks for, so that you can
watch the first boot. Emulate ends when the system powers off, or with Ctrl-C. The
image is not changed.

The emulated Pi has no USB gadget, and it is slow: a login takes minutes.`

func emulateCommand() *cobra.Command {
	var model string
	cmd := &cobra.Command{
		Use:     "emulate IMAGE",
		Short:   "Boot an image on an emulated Raspberry Pi (needs QEMU)",
		Long:    emulateHelp,
		Example: "  clusterctrl emulate out/*-p1.img",
		Args:    exactly(1, "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(lab.Boards(), model) {
				return usagef("--machine %q: want %s", model, strings.Join(lab.Boards(), " or "))
			}
			return emulate(cmd, lab.Config{Model: model, Image: args[0], Transcript: cmd.OutOrStdout()})
		},
	}
	cmd.Flags().StringVar(&model, "machine", "raspi3b", "the `MODEL` to emulate: "+strings.Join(lab.Boards(), " or "))
	complete(cmd, "machine", lab.Boards()...)
	return cmd
}

func emulate(cmd *cobra.Command, c lab.Config) (err error) {
	ctx := cmd.Context()
	m, err := lab.New(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var keyboard switchboard
	go io.Copy(&keyboard, cmd.InOrStdin())
	for {
		boot, err := m.Boot(ctx)
		if err != nil {
			return err
		}
		keyboard.connect(boot)
		how, err := boot.Wait()
		if err != nil || how != lab.Restarted {
			return err
		}
	}
}

// A switchboard passes what is written on to the writer that it was connected with last.
type switchboard struct {
	mu sync.Mutex
	to io.Writer
}

func (s *switchboard) connect(to io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
}

// Write drops its bytes where no writer is connected: the machine is off.
func (s *switchboard) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to != nil {
		s.to.Write(p)
	}
	return len(p), nil
}
