package power

import (
	"fmt"
	"strings"

	"clusterctrl/internal/node"
)

// Path returns the USB path of a node, empty if it cannot be computed.
func (bs Boards) Path(id node.ID) (string, error) {
	b, x, err := bs.Find(id)
	if err != nil {
		return "", err
	}
	path, err := b.Path(x)
	return path, about(id, b, err)
}

// Learn tells a ClusterHAT whose hub was not found where that is, by the USB paths of nodes
// that are plugged in.
func (bs Boards) Learn(plugged map[node.ID]string) {
	if len(bs) == 0 {
		return
	}
	var h *hat
	switch b := bs[0].(type) {
	case *expander:
		h = &b.hat
	case *pins:
		h = &b.hat
	default:
		return
	}
	for x := 1; x <= h.size && h.hubPath == ""; x++ {
		hub, ok := strings.CutSuffix(plugged[node.ID(x)], fmt.Sprintf(".%d", h.version.port(x)))
		if ok {
			h.hubPath = hub
		}
	}
}
