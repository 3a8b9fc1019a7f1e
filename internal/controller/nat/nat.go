// Package nat lets the nodes of a routing controller reach what the controller
// reaches: it tells Linux, over netlink, to hide the nodes' addresses behind the
// controller's.
//
// All rules are in a table of our own, which is made anew as a whole: whatever
// the user has in other tables stays. Where the kernel has no nf_tables, iptables(8)
// makes the rules, in chains of our own.
package nat

// table is the name of the table of rules.
const table = "clusterctrl"
