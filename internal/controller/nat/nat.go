// Package nat lets the nodes of a routing controller reach what the controller
// reaches: it tells Linux, over netlink, to hide their addresses behind its own.
//
// All rules are in a table of our own, which is made anew as a whole: whatever
// the user has in other tables stays. Kernels without nf_tables get them from
// iptables(8), in chains of our own.
package nat

// table is the name of the table of rules.
const table = "clusterctrl"
