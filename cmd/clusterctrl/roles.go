package main

import (
	"slices"
	"strings"

	"clusterctrl/internal/node"
)

// parseRoles reads roles such as cnat, p7 and the range p1-p8, in words or in lists
// with commas. Each may be there once.
func parseRoles(words []string) ([]node.Role, error) {
	var roles []node.Role
	for _, word := range words {
		for item := range strings.SplitSeq(word, ",") {
			some, err := parseRange(strings.TrimSpace(item))
			if err != nil {
				return nil, usageError{err}
			}
			for _, role := range some {
				if slices.Contains(roles, role) {
					return nil, usagef("%v twice: want each role once", role)
				}
				roles = append(roles, role)
			}
		}
	}
	return roles, nil
}

// parseRange reads a role or a range of nodes.
func parseRange(item string) ([]node.Role, error) {
	if !strings.Contains(item, "-") {
		role, err := node.ParseRole(item)
		return []node.Role{role}, err
	}
	ids, err := node.ParseSet([]string{item}, nil)
	var roles []node.Role
	for _, id := range ids {
		roles = append(roles, id.Role())
	}
	return roles, err
}

// nodesUpTo returns the roles of the first n nodes.
func nodesUpTo(n int) []node.Role {
	var roles []node.Role
	for i := range n {
		roles = append(roles, node.ID(i+1).Role())
	}
	return roles
}
