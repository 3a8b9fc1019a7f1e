package lab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"clusterctrl/internal/lab/board"
	"clusterctrl/internal/lab/cable"
	"clusterctrl/internal/lab/inside"
	"clusterctrl/internal/lab/usb"
	"clusterctrl/internal/node"
)

// A Supply is a source of the nodes' power.
type Supply string

const (
	HAT   Supply = "hat"  // a ClusterHAT on the controller, for p1 to p4
	CTRL  Supply = "ctrl" // ClusterCTRL boards on the controller's USB, for any nodes
	Mains Supply = "none" // no board: the nodes' machines are on from the start
)

// Supplies are all that there are.
var Supplies = []Supply{HAT, CTRL, Mains}

const (
	hatVersion = 0x24 // of the ClusterHAT
	hatNodes   = 4
)

// A playedBoard is a board of the controller.
type playedBoard interface {
	Device() *board.Bus
	PowerOn()
	PowerOff()
}

// ParseSupply parses the written form of a supply; an empty one asks for none.
func ParseSupply(s string) (Supply, error) {
	if s == "" || slices.Contains(Supplies, Supply(s)) {
		return Supply(s), nil
	}
	return "", fmt.Errorf("want %s, %s or %s", HAT, CTRL, Mains)
}

// chooseSupply returns the supply that was asked for, if it reaches all nodes, or else
// the smallest that does. Without a controller, nodes are always on. A HAT is not for
// bare nodes: only by its hub, which is not played, does a controller know them.
func (c RigConfig) chooseSupply() (Supply, error) {
	var highest, bare node.ID
	var controller bool
	for _, m := range c.Members {
		id, err := node.ParseID(m.Name)
		if err != nil && !m.Controller {
			return "", err
		}
		highest, controller = max(highest, id), controller || m.Controller
		if m.Bare {
			bare = id
		}
	}
	switch {
	case !controller && bare != 0:
		return "", fmt.Errorf("%v has neither a card nor a controller: want the image of one", bare)
	case !controller:
		return Mains, nil
	case c.Supply == HAT && bare != 0:
		return "", fmt.Errorf("%v without a card on a ClusterHAT, which here has no hub: want board %s", bare, CTRL)
	case c.Supply == HAT && highest > hatNodes:
		return "", fmt.Errorf("%v on a ClusterHAT, which has p1 to p%d: want board %s", highest, hatNodes, CTRL)
	case c.Supply != "":
		return c.Supply, nil
	case highest > hatNodes || bare != 0:
		return CTRL, nil
	}
	return HAT, nil
}

// installBoards gives the controller the boards of the supply.
func (r *Rig) installBoards(ctx context.Context, controller *Member) error {
	nodes := map[int]*Member{} // by number
	for _, m := range r.nodes() {
		id, err := node.ParseID(m.Name)
		if err != nil {
			return err
		}
		nodes[int(id)] = m
	}
	switch r.Supply {
	case HAT:
		return r.installHAT(ctx, controller, nodes)
	case CTRL:
		return r.installCTRL(controller, nodes)
	}
	return nil
}

func (r *Rig) installHAT(ctx context.Context, controller *Member, nodes map[int]*Member) error {
	hat := &board.HAT{
		Version: hatVersion, PullUps: true,
		PowerLinkCut: r.On,
		Switched:     func(x int, on bool) { nodes[x].switchPower(on) },
		Hub: func(on bool) {
			for _, m := range nodes {
				m.Cable.SwitchHub(on)
			}
		},
	}
	machine := controller.machine
	tree, err := machine.model.writeHATTree(ctx, r.Dir, hat.DeviceTree(), "-m", fmt.Sprint(controller.Memory))
	if err != nil {
		return err
	}
	machine.Software.DeviceTree = tree
	_, err = r.plugIn(controller, inside.HATStream, hat)
	return err
}

// installCTRL plugs in as many boards of the largest kind as reach the highest node.
// Nodes are numbered through all boards, in their order.
func (r *Rig) installCTRL(controller *Member, nodes map[int]*Member) error {
	highest := slices.Max(append(slices.Collect(maps.Keys(nodes)), 0))
	for before := 0; before == 0 || before < highest; before += int(board.DA.MaxPi) { // nodes of boards with a lower order
		f := &board.Firmware{
			Kind:        board.DA,
			ADC:         []board.Reading{{Kind: 1, Raw: 776}}, // 5.0 V
			Temperature: 284,                                  // 30 degrees Celsius
			Switched:    func(x int, on bool) { nodes[before+x].switchPower(on) },
		}
		own := r.boardPort(controller)
		f.Ports = func(x int) []byte {
			if x == 0 {
				return rootPort(own)
			}
			return rootPort(slices.Index(r.nodes(), nodes[before+x]))
		}
		f.MaxPi = byte(min(int(f.MaxPi), int(node.MaxID)-before))
		f.Cycled = func(off time.Duration) {
			for x := range int(f.MaxPi) {
				nodes[before+x+1].cycleHub(off)
			}
		}
		state := board.Delivered()
		state.Order = byte(len(controller.boards) + 1)
		for x := 1; x <= int(f.MaxPi); x++ {
			state.Power[x] = r.On && nodes[before+x] != nil
		}
		f.Save(state)
		c, err := r.plugIn(controller, inside.ControllerStream, f)
		if err != nil {
			return err
		}
		f.Restarted = func() { go c.Replug() }
	}
	return nil
}

// boardPort is the controller's USB port that the next board gets.
func (r *Rig) boardPort(controller *Member) int { return len(r.nodes()) + len(controller.boards) }

// rootPort is a port of the controller's, from 0, as the kernel numbers those of a root
// hub. There is none for what is not there.
func rootPort(port int) []byte {
	if port < 0 {
		return nil
	}
	return []byte{byte(port + 1)}
}

// plugIn plugs a board into the controller, behind the nodes and earlier boards.
func (r *Rig) plugIn(controller *Member, kind string, b playedBoard) (*cable.Cable, error) {
	device, c := b.Device(), new(cable.Cable)
	c.Play(func(stream io.ReadWriter) {
		if err := usb.Serve(stream, device); err != nil {
			controller.say("board: %v", err)
		}
	})
	c.Plug(true)
	port := r.boardPort(controller)
	controller.boards = append(controller.boards, b)
	return c, controller.port(c, kind, port)
}
