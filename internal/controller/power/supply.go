package power

import (
	"errors"

	"clusterctrl/internal/controller/cluster"
)

// Supplies asks the boards about all their nodes. A board that did not answer about one
// node is not asked about the others, since a question to a board that hangs takes ten
// seconds.
func (bs Boards) Supplies() []cluster.Supply {
	var all []cluster.Supply
	silent := map[Board]error{}
	for _, id := range bs.IDs() {
		b, x, err := bs.Find(id)
		s := cluster.Supply{Node: id, Board: b.String()}
		if err == nil {
			err = silent[b]
		}
		if err == nil {
			s.On, err = b.Power(x)
		}
		if err != nil && !errors.As(err, new(*FirmwareError)) { // a FirmwareError is an answer too
			silent[b] = err
		}
		s.Err = about(id, b, err)
		all = append(all, s)
	}
	return all
}
