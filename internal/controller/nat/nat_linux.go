package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"clusterctrl/internal/node"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Start makes the rules. A packet from the nodes' network that leaves by another
// interface than the nodes' bridge gets that interface's address. All packets from the
// bridge to other interfaces may pass, and so may the answers.
//
// Where the kernel lacks nf_tables, or a part of it, Start uses iptables, if that is
// installed.
func Start() error {
	err := startNFTables()
	if err == nil || errors.Is(err, fs.ErrPermission) {
		return err
	}
	if other := startIPTables(); other != nil {
		return fmt.Errorf("%w; %w", err, other)
	}
	return nil
}

// Stop takes the rules away, if they are there.
func Stop() error {
	// Without a usable nf_tables, none of our rules can be in it.
	if err := stopNFTables(); errors.Is(err, fs.ErrPermission) {
		return err
	}
	return stopIPTables()
}

// Dropping names other programs' chains, such as a firewall's, that drop forwarded
// packets unless a rule accepts them. That our chain accepts a packet does not help: a
// packet passes if every chain accepts it.
func Dropping() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, explain(err)
	}
	var names []string
	for _, chain := range chains {
		forwards := chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookForward && chain.Type == nftables.ChainTypeFilter
		drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		ipv4 := chain.Table.Family == nftables.TableFamilyIPv4 || chain.Table.Family == nftables.TableFamilyINet
		if forwards && drops && ipv4 {
			names = append(names, chain.Table.Name+" "+chain.Name)
		}
	}
	return names, nil
}

func startNFTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	drop(c)
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: table})
	postrouting := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: all})
	}
	accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	rule(postrouting, from(node.GadgetNet), link(expr.MetaKeyOIFNAME, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})
	rule(forward, link(expr.MetaKeyIIFNAME, expr.CmpOpEq), link(expr.MetaKeyOIFNAME, expr.CmpOpNeq), accept)
	rule(forward, link(expr.MetaKeyOIFNAME, expr.CmpOpEq), answering(), accept)
	return explain(c.Flush())
}

func stopNFTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	drop(c)
	return explain(c.Flush())
}

// drop deletes the table. It adds the table first, since it is an error to delete one
// that is not there.
func drop(c *nftables.Conn) {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: table}
	c.AddTable(t)
	c.DelTable(t)
}

func explain(err error) error {
	if err != nil {
		return fmt.Errorf("nftables: %w: want root, and a kernel with nf_tables", err)
	}
	return nil
}

// link compares the name of an interface with that of the nodes' bridge.
func link(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, node.Bridge)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

// from compares the source address of an IPv4 packet, 4 bytes at byte 12 of its
// header (RFC 791), with a network.
func from(network netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - network.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network.Masked().Addr().AsSlice()},
	}
}

// answering matches packets of connections that exist.
func answering() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
