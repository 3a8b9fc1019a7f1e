package power

import "clusterctrl/internal/controller/cluster"

// Supplies asks the boards for all their nodes.
func (bs Boards) Supplies() []cluster.Supply {
	var all []cluster.Supply
	for _, id := range bs.IDs() {
		b, x, err := bs.Find(id)
		s := cluster.Supply{Node: id, Board: b.String()}
		if err == nil {
			s.On, err = b.Power(x)
		}
		s.Err = about(id, b, err)
		all = append(all, s)
	}
	return all
}
