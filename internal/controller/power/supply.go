package power

import (
	"errors"

	"clusterctrl/internal/controller/cluster"
)

// Supplies asks the boards for all their nodes. A board that did not answer about one
// node is not asked about others: one that hangs takes ten seconds for each answer.
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
		if err != nil && !errors.As(err, new(*FirmwareError)) { // which is an answer
			silent[b] = err
		}
		s.Err = about(id, b, err)
		all = append(all, s)
	}
	return all
}
