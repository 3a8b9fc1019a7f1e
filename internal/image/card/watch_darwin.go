package card

import (
	"bufio"
	"context"
	"errors"
	"os/exec"
)

// watch returns once try is done or fails. It tries at once, and again whenever
// macOS tells that a disk comes, goes, or is mounted, until ctx ends; then it returns
// the cause.
func watch(ctx context.Context, try func() (done bool, err error)) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	activity := exec.CommandContext(inner, "/usr/sbin/diskutil", "activity")
	out, err := activity.StdoutPipe()
	if err != nil {
		return err
	}
	if err := activity.Start(); err != nil {
		return err
	}
	defer activity.Wait()
	defer cancel()
	for lines := bufio.NewScanner(out); ; {
		if done, err := try(); done || err != nil {
			return err
		}
		if !lines.Scan() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errors.Join(lines.Err(), errors.New("diskutil activity ended"))
		}
	}
}
