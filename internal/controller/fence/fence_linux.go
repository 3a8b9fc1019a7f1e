package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"clusterctrl/internal/node"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Our chains, for packets that enter the bridge, and for those that cross it to another port.
const (
	entering = "entering"
	crossing = "crossing"
)

// Registers in which a port's name, of 16 bytes, and an address lie one behind the other.
const (
	nameRegister = 1
	addrRegister = 2
)

// Start makes the rules, in place of any that are there. A packet that comes in
// at a node's port passes if it is one of IPv4 or ARP, comes from the node's own address,
// and goes to the controller.
func Start() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyBridge, Name: table}
	c.AddTable(t) // since it is an error to delete a table that is not there
	c.DelTable(t)
	c.AddTable(t)
	ports := &nftables.Set{Table: t, Name: "ports", KeyType: nftables.TypeIFName}
	pairs := &nftables.Set{
		Table: t, Name: "addresses", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr),
	}
	names, addresses := elements()
	if err := errors.Join(c.AddSet(ports, names), c.AddSet(pairs, addresses)); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	enter := c.AddChain(&nftables.Chain{
		Name: entering, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-200), // bridge's filter
	})
	cross := c.AddChain(&nftables.Chain{
		Name: crossing, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityRef(-200),
	})
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: all})
	}
	verdict := func(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }
	// Ports that the owner of the controller has added are not fenced. A node's untagged
	// link is a port of another bridge.
	rule(enter, port(), outside(ports), verdict(expr.VerdictAccept))
	rule(enter, proto(unix.ETH_P_IP), port(), source(ipv4Source), in(pairs), verdict(expr.VerdictAccept))
	rule(enter, proto(unix.ETH_P_ARP), port(), source(arpSource), in(pairs), verdict(expr.VerdictAccept))
	rule(enter, verdict(expr.VerdictDrop))
	rule(cross, port(), in(ports), verdict(expr.VerdictDrop))
	return explain(c.Flush())
}

// Check returns [ErrOpen] if the rules are not there, which happens where a firewall empties
// all tables. It needs root, as Start does.
func Check() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyBridge, Name: table}
	for _, chain := range []string{entering, crossing} {
		rules, err := c.GetRules(t, &nftables.Chain{Name: chain})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(err)
		}
		if len(rules) == 0 {
			return ErrOpen
		}
	}
	return nil
}

func explain(err error) error {
	if err != nil {
		return fmt.Errorf("nftables: %w: want root, and a kernel with nf_tables for bridges", err)
	}
	return nil
}

// elements returns what is in the two sets: the names of all nodes' ports, and the pairs of
// such a name and the node's address.
func elements() (ports, addresses []nftables.SetElement) {
	for id := node.MinID; id <= node.MaxID; id++ {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, fmt.Sprintf("%s.%d", id.USBBootLink(), node.NFSVLAN))
		ports = append(ports, nftables.SetElement{Key: name})
		addresses = append(addresses, nftables.SetElement{Key: slices.Concat(name, id.NFSAddr().AsSlice())})
	}
	return ports, addresses
}

// port loads the name of the port that a packet came in by.
func port() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: nameRegister}}
}

// in matches packets of which the set has what was loaded; outside matches all others.
func in(set *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: nameRegister, SetName: set.Name, SetID: set.ID}}
}

func outside(set *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: nameRegister, SetName: set.Name, SetID: set.ID, Invert: true}}
}

// proto matches frames of one EtherType.
func proto(kind uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(kind)},
	}
}

// Where a sender's address is: at byte 12 of an IPv4 header (RFC 791) and byte 14 of an
// ARP message (RFC 826).
const (
	ipv4Source = 12
	arpSource  = 14
)

// source loads the sender's address, behind the name of the port.
func source(offset uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: addrRegister, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}}
}
