package power

import (
	"clusterctrl/internal/node"
)

// A Supply is what a board knows of one of its nodes.
type Supply struct {
	Node  node.ID
	Board string
	On    bool
	Err   error // what kept the board from answering
}

// Supplies asks the boards for all their nodes.
func (bs Boards) Supplies() []Supply {
	var all []Supply
	for _, id := range bs.IDs() {
		b, x, err := bs.Find(id)
		s := Supply{Node: id, Board: b.String()}
		if err == nil {
			s.On, err = b.Power(x)
		}
		s.Err = about(id, b, err)
		all = append(all, s)
	}
	return all
}
