package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"clusterctrl/internal/controller/rpiboot"
	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
	"github.com/spf13/cobra"
)

const rpibootHelp = `Rpiboot gives boot files over USB to Pis that have no card, to all that are
plugged in at the same time. A Pi fetches bootcode.bin, then start.elf and what
goes with it, then its kernel.

With --overlay, a Pi's files are first looked for in the directory in DIR that is
named as the Pi's USB path (such as 1-1.2.4), then in that of its chip (2710,
2711, 2712), then in DIR itself. The directory of a USB path may be a link into a
node's root: no link in there leads out of that root. Or it is a link to a node's
disk (see disk): then the files are those of the disk's boot partition. bootcode.bin
is never the node's own.

Current firmware may not start a Zero 2 W over USB (that of 2025-12-04 does):
--firmware takes bootcode.bin, start*.elf and fixup*.dat from another directory.

Without --loop, rpiboot ends when one Pi has all files of its system.`

const rpibootExample = `  # what the service clusterctrl-rpiboot runs
  sudo clusterctrl rpiboot --overlay --loop

  # one Pi, from a directory of boot files, and what it asked for in vain
  sudo clusterctrl rpiboot --dir boot --verbose`

func rpibootCommand() *cobra.Command {
	var s rpiboot.Server
	var loop, verbose, asJSON bool
	cmd := &cobra.Command{
		Use:     "rpiboot [--dir DIR]",
		Short:   "Give boot files to Pis without cards (on the controller)",
		Long:    rpibootHelp,
		Example: rpibootExample,
		Args:    exactly(0, "none; the directory is --dir"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("firmware") {
				var err error
				if s.Firmware, err = firmwareSetting(node.SettingsFile); err != nil {
					return err
				}
			}
			for _, dir := range []string{s.Dir, s.Firmware} {
				if info, err := os.Stat(dir); dir != "" && err != nil {
					return err
				} else if dir != "" && !info.IsDir() {
					return fmt.Errorf("%s: want a directory of boot files", dir)
				}
			}
			if _, err := os.Stat("/dev/bus/usb"); errors.Is(err, fs.ErrNotExist) {
				return errors.New("this computer has no USB: no /dev/bus/usb")
			}
			out := &rpibootLog{to: cmd.OutOrStdout(), verbose: verbose, json: asJSON}
			s.Once, s.Report = !loop, out.report
			s.Places = map[string]rpiboot.Place{
				node.NFSRoots: rpiboot.Roots(node.NFSRoots),
				node.Disks:    disk.Dir{Path: node.Disks},
			}
			err := s.Run(cmd.Context())
			if loop && cmd.Context().Err() != nil {
				return nil // that is how a service ends
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Dir, "dir", node.RPIBootDir, "the boot files are in `DIR`")
	flags.BoolVar(&s.Overlay, "overlay", false, "look first in the directory of the Pi's USB path")
	flags.BoolVar(&loop, "loop", false, "go on after a Pi has its files, until Ctrl-C")
	flags.StringVar(&s.Firmware, "firmware", "", "take bootcode.bin, start*.elf and fixup*.dat from `DIR` (default: BOOTCODE in "+node.SettingsFile+")")
	flags.BoolVarP(&verbose, "verbose", "v", false, "show each file that a Pi asked for, also in vain")
	flags.BoolVar(&asJSON, "json", false, "print an object a line")
	return cmd
}

// firmwareSetting is what a settings file says of where firmware is, nothing where
// there is no such file.
func firmwareSetting(name string) (string, error) {
	text, err := defaults.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	dir, err := text.Value("BOOTCODE")
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return dir, nil
}

// A rpibootLog prints what happens to Pis, a line for each event.
type rpibootLog struct {
	to            io.Writer
	verbose, json bool

	mu sync.Mutex
}

func (l *rpibootLog) report(e rpiboot.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.verbose && e.Step == rpiboot.FileAsked && (e.Request.Err != nil || !e.Request.Read) {
		return
	}
	if l.json {
		line, err := json.Marshal(rpibootJSON(e))
		if err == nil {
			fmt.Fprintf(l.to, "%s\n", line)
		}
		return
	}
	fmt.Fprintf(l.to, "%s: %s\n", e.Path, describe(e))
}

// describe is an event as people read it.
func describe(e rpiboot.Event) string {
	switch {
	case e.Step == rpiboot.FileAsked && e.Request.Err != nil:
		return fmt.Sprintf("asked for %s: %v", e.Request.Name, e.Request.Err)
	case e.Step == rpiboot.FileAsked && !e.Request.Read:
		return fmt.Sprintf("asked for the size of %s: %d bytes", e.Request.Name, e.Request.Size)
	case e.Step == rpiboot.FileAsked:
		return fmt.Sprintf("sending %s, %d bytes", filepath.Base(e.Request.Name), e.Request.Size)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return string(e.Step)
}

// rpibootEvent is an event as programs read it.
type rpibootEvent struct {
	USBPath string       `json:"usbPath"`
	Step    rpiboot.Step `json:"step"`
	File    string       `json:"file,omitempty"`
	Size    int64        `json:"size,omitempty"`
	Error   string       `json:"error,omitempty"`
}

func rpibootJSON(e rpiboot.Event) rpibootEvent {
	line := rpibootEvent{USBPath: e.Path, Step: e.Step, File: e.Request.Name, Size: e.Request.Size}
	if err := errors.Join(e.Err, e.Request.Err); err != nil {
		line.Error = err.Error()
	}
	return line
}
