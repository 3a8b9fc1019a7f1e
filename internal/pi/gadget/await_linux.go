package gadget

import (
	"context"
	"fmt"
	"time"

	"clusterctrl/internal/linux/uevent"
)

// settled is the wait before a listed device controller is tried again. Each further
// wait is twice as long, since the device controller may never take this gadget.
// Linux tells of a device controller a moment before it takes gadgets, and no
// event tells when it does.
const settled = 20 * time.Millisecond

// await tries at once, and again whenever the kernel says that a device
// controller appeared, for at most o.Wait. From Linux 5.19 on, a device controller
// has a device of the subsystem gadget, to which gadgets are bound.
func (o Options) await(ctx context.Context, try func() (progress, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fmt.Errorf("%w: %v are over", errWaited, o.Wait))
	defer cancel()
	for pause := settled; ; pause *= 2 {
		var p progress
		err := uevent.Wait(ctx, func() (bool, error) {
			var err error
			p, err = try()
			return p != absent, err
		}, "udc", "gadget")
		if err != nil || p == bound {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
