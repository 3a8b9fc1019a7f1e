package node

import (
	"fmt"
	"strconv"
	"strings"
)

// A Role is what a Pi is in its cluster: a controller, bridging (cbridge) or
// routing (cnat), or the node of an ID. The zero Role is none.
type Role struct {
	ID  ID // zero for a controller
	NAT bool

	controller bool
}

// The controllers' roles.
var (
	CBridge = Role{controller: true}
	CNAT    = Role{controller: true, NAT: true}
)

// Role returns the role of the node.
func (id ID) Role() Role { return Role{ID: id} }

// ParseRole parses the argument of reconfig-clusterctrl: "cbridge", "cnat", or
// a node such as "p7". "c", which images of before 2018 used, is cbridge.
func ParseRole(s string) (Role, error) {
	switch s {
	case "cbridge", "c":
		return CBridge, nil
	case "cnat":
		return CNAT, nil
	}
	id, err := ParseID(s)
	if err != nil {
		return Role{}, fmt.Errorf("role %q: want cbridge, cnat, or p%d to p%d", s, MinID, MaxID)
	}
	return id.Role(), nil
}

// String returns the role as [ParseRole] reads it; it is the host's name too.
func (r Role) String() string {
	switch {
	case r.controller && r.NAT:
		return "cnat"
	case r.controller:
		return "cbridge"
	}
	return r.ID.String()
}

// IsController tells controllers from nodes.
func (r Role) IsController() bool { return r.controller }

// Type is the value of TYPE in the settings file of a Pi with this role.
func (r Role) Type() string {
	switch {
	case r.controller && r.NAT:
		return "cnat"
	case r.controller:
		return "c"
	}
	return "node"
}

// Number is the value of ID in the settings file: a node's number, nothing for
// a controller.
func (r Role) Number() string {
	if r.controller {
		return ""
	}
	return strconv.Itoa(int(r.ID))
}

// ReconfigArg returns the words that make the kernel start the
// reconfiguration for the role as PID 1.
func (r Role) ReconfigArg() string { return "init=" + ReconfigPath + " " + r.String() }

// IsReconfig reports whether a word of the kernel command line starts the
// reconfiguration. Images of before 2018 have it in /sbin.
func IsReconfig(word string) bool {
	program, ok := strings.CutPrefix(word, "init=")
	return ok && (program == ReconfigPath || program == "/sbin/reconfig-clusterctrl")
}
