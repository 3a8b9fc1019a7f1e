package uevent

import (
	"context"
	"errors"
	"os"
	"time"
)

// Wait returns once try is done or fails. It tries at once, and again whenever a
// device of one of the subsystems, or of any if none is named, comes, goes or
// changes, until ctx ends; then it returns the cause.
func Wait(ctx context.Context, try func() (done bool, err error), subsystems ...string) error {
	return wait(ctx, Kernel, try, subsystems)
}

// WaitNamed is Wait for names that udev makes: it tries again when a device has its
// names.
func WaitNamed(ctx context.Context, try func() (done bool, err error), subsystems ...string) error {
	return wait(ctx, Named(), try, subsystems)
}

func wait(ctx context.Context, source Source, try func() (done bool, err error), subsystems []string) error {
	if done, err := try(); done || err != nil {
		return err
	}
	events, err := Listen(source)
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// A device that came before Listen has no event any more.
		if done, err := try(); done || err != nil {
			return err
		}
		err := Await(events, subsystems...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}
