package power

import (
	"strconv"
	"time"
)

// hubOffTime is how long the hub of a ClusterHAT is off when it is cycled: long enough for
// its capacitors to be empty, and for devices to notice.
const hubOffTime = time.Second

// A hat is what all versions of the ClusterHAT have.
type hat struct {
	version Version
	size    int
	hubPath string            // USB path of its hub, empty if it is not known
	eeprom  map[string]string // what the HAT's EEPROM says
	pause   func(time.Duration)
}

func (h hat) Nodes() int { return h.size }

// Path returns the USB path of node x: a port of the HAT's hub.
func (h hat) Path(x int) (string, error) {
	if h.hubPath == "" {
		return "", nil
	}
	return h.hubPath + "." + strconv.Itoa(h.version.port(x)), nil
}

func (h hat) report(b Board) Report {
	return Report{Board: b.String(), Kind: KindHAT, Nodes: h.size, Version: h.version.String(), EEPROM: h.eeprom}
}
