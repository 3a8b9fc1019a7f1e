package gadget

import (
	"context"
	"fmt"

	"clusterctrl/internal/uevent"
)

// await tries at once, and again whenever the kernel says that a device
// controller appeared, for at most o.Wait. From Linux 5.19 on, a device controller
// has a device of the subsystem gadget, to which gadgets are bound.
func (o Options) await(ctx context.Context, try func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, fmt.Errorf("%w: %v are over", errWaited, o.Wait))
	defer cancel()
	return uevent.Wait(ctx, try, "udc", "gadget")
}
