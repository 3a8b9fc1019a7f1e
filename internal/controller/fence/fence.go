// Package fence keeps nodes without cards to themselves. Their roots and disks come over
// the controller's internal bridge, and the controller knows a node there by its address
// alone: so a node's port on the bridge may use the node's own address, and may talk to
// the controller and to no other node.
//
// The port is named by the number that the node shows on USB. Who is at which USB port,
// only a controller's boards can tell.
package fence

import "errors"

// ErrOpen says that the rules are not there.
var ErrOpen = errors.New("the rules that keep each node to its own are not there")

// table is our table in nf_tables.
const table = "clusterctrl_fence"
