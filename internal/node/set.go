package node

import (
	"fmt"
	"slices"
	"strings"
)

// All is the word for all nodes that there are.
const All = "all"

// ParseSet parses a set of nodes, in words such as "p1", the range "p5-p9" and the
// list "p1,p3-p4". The word "all" stands for the nodes in all; with none in all it
// is no word. The set keeps the order of the words, and has each node once.
func ParseSet(words []string, all []ID) ([]ID, error) {
	var set []ID
	for _, word := range words {
		for item := range strings.SplitSeq(word, ",") {
			ids := all
			if item != All || len(all) == 0 {
				var err error
				if ids, err = parseRange(item); err != nil {
					return nil, err
				}
			}
			for _, id := range ids {
				if !slices.Contains(set, id) {
					set = append(set, id)
				}
			}
		}
	}
	return set, nil
}

// parseRange parses a node or a range of nodes.
func parseRange(s string) ([]ID, error) {
	from, to, isRange := strings.Cut(s, "-")
	if isRange && (from == "" || to == "") {
		return nil, fmt.Errorf("nodes %q: want a range such as p1-p4", s)
	}
	first, err := ParseID(from)
	if err != nil || !isRange {
		return []ID{first}, err
	}
	last, err := ParseID(to)
	if err != nil {
		return nil, err
	}
	if last < first {
		return nil, fmt.Errorf("nodes %q: want the lower one first, %v-%v", s, last, first)
	}
	var ids []ID
	for id := first; id <= last; id++ {
		ids = append(ids, id)
	}
	return ids, nil
}
