package gadget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"clusterctrl/internal/uevent"
)

// await tries at once, and again whenever the kernel says that a device
// controller appeared, for at most o.Wait.
func (o Options) await(ctx context.Context, try func() (done bool, err error)) error {
	if done, err := try(); done || err != nil {
		return err
	}
	events, err := uevent.Listen(uevent.Kernel)
	if err != nil {
		return err
	}
	defer events.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait,
		fmt.Errorf("%v are over", o.Wait))
	defer cancel()
	defer context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// What came before we listened has no event any more.
		if done, err := try(); done || err != nil {
			return err
		}
		// From Linux 5.19 on, a device controller has a device of the subsystem
		// gadget, to which gadgets are bound.
		err := uevent.Await(events, "udc", "gadget")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: %w", errWaited, context.Cause(ctx))
		}
		if err != nil {
			return err
		}
	}
}
