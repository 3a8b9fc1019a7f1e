// Package fence keeps nodes without cards to themselves. Their roots and disks come over
// the controller's internal bridge, and the controller knows a node there by its address
// alone: so a node's port on the bridge may use the node's own address, and may talk to
// the controller and to no other node.
//
// A port's name has the number that the node shows on USB. Whether that number is the
// node's own, only the boards can tell, which know the node at each USB port.
package fence

import "errors"

// ErrOpen is the error of [Check] where the rules are not there.
var ErrOpen = errors.New("the packet filter lacks the rules that keep each node to its own address")

// table is our table in nf_tables.
const table = "clusterctrl_fence"
