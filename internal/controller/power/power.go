// Package power switches the nodes of a controller's boards: a ClusterHAT, whose
// pins are the Pi's own (v1) or an expander's on I2C (v2 and v3), and any number
// of ClusterCTRL boards, which have a firmware and an I2C bus each, over USB.
//
// [Machine.Boards] finds the boards and numbers their nodes: the HAT's nodes first, then
// the other boards' nodes by the boards' order. It switches nothing; of the methods, those
// switch that say so. Each change is made under a lock on the board's device, so that of
// two commands at the same time neither undoes what the other did.
package power

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"clusterctrl/internal/node"
)

// A Board switches nodes, which it counts from 1. For a feature that it does not have, it
// returns an error that wraps [errors.ErrUnsupported].
type Board interface {
	// String names the board in messages, with where it is.
	String() string
	// Nodes is how many nodes the board has room for.
	Nodes() int
	// Power tells whether node x has power.
	Power(x int) (bool, error)
	// SetPower switches node x on or off.
	SetPower(x int, on bool) error
	// Set turns a feature on or off, of node x, or of the whole board where x is 0.
	Set(f Feature, x int, on bool) error
	// CycleHub switches the USB hub off for a moment.
	CycleHub() error
	// Start makes the board ready if nothing has done so since it got power; first says
	// whether Start did.
	Start() (first bool, err error)
	// Report returns what the board knows about itself.
	Report() (Report, error)
	// Path returns the USB path of node x, empty if it cannot be computed.
	Path(x int) (string, error)
	Close() error
}

// A Feature is a function of a board that is on or off, apart from the nodes' power.
type Feature string

const (
	Alert        Feature = "alert"             // blinks, for people to find a node or a board
	LEDs         Feature = "LEDs"              // if off, none is lit
	Hub          Feature = "USB hub"           // which all nodes of the board are on
	USBBoot      Feature = "USB boot"          // a node starts from its controller, without a card
	WriteProtect Feature = "EEPROM protection" // of the EEPROM in which the HAT describes itself
	ActLED       Feature = "activity LED"
	Fan          Feature = "fan"
)

// unsupported is the error about a feature that a board does not have.
func unsupported(b Board, f Feature) error {
	return fmt.Errorf("%v: no %s that can be switched: %w", b, f, errors.ErrUnsupported)
}

// Boards are the boards of a controller, in the order in which their nodes are
// numbered.
type Boards []Board

// MaxNodes is how many nodes the boards have room for.
func (bs Boards) MaxNodes() int {
	n := 0
	for _, b := range bs {
		n += b.Nodes()
	}
	return n
}

// IDs are all nodes that the boards have room for.
func (bs Boards) IDs() []node.ID {
	var ids []node.ID
	for i := range bs.MaxNodes() {
		ids = append(ids, node.MinID+node.ID(i))
	}
	return ids
}

// Find returns the board of a node, and which of the board's nodes it is.
func (bs Boards) Find(id node.ID) (b Board, x int, err error) {
	x = int(id)
	for _, b := range bs {
		if x <= b.Nodes() {
			return b, x, nil
		}
		x -= b.Nodes()
	}
	if len(bs) == 0 {
		return nil, 0, fmt.Errorf("%v: %w", id, ErrNoBoard)
	}
	return nil, 0, fmt.Errorf("%v: no board has it: want p1 to p%d", id, bs.MaxNodes())
}

// Parse parses a set of nodes that the boards have.
func (bs Boards) Parse(words []string) ([]node.ID, error) {
	ids, err := node.ParseSet(words, bs.IDs())
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, _, err := bs.Find(id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Close closes the devices of all boards.
func (bs Boards) Close() error {
	var errs []error
	for _, b := range bs {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// ErrNoBoard is the error about a machine without boards.
var ErrNoBoard = errors.New("no board was found: neither a ClusterHAT (by /proc/device-tree/hat) nor a ClusterCTRL board (by /dev/ClusterCTRL-*)")

// ByOrder returns the ClusterCTRL board of an order.
func (bs Boards) ByOrder(order int) (*Ctrl, error) {
	var known []string
	for _, b := range bs {
		b, ok := b.(*Ctrl)
		if ok && b.order == order {
			return b, nil
		}
		if ok {
			known = append(known, strconv.Itoa(b.order))
		}
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("order %d: there is no ClusterCTRL board", order)
	}
	return nil, fmt.Errorf("order %d: no board has it: want %s", order, strings.Join(known, " or "))
}
