package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const nftTable = "weft-lab"

// programForwards replaces this network namespace's table of virtual addresses in one transaction:
// connections to a virtual address go to a random endpoint, or are refused when there is none; a pod that
// reaches itself through a service is masqueraded, or it would see its own address as the caller's.
func programForwards(all []forward) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: nftTable}
	c.AddTable(table) // so that the deletion finds one
	c.DelTable(table)
	c.AddTable(table)
	nat := func(name string, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: prio})
	}
	pre := nat("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := nat("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	post := nat("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	fwd := c.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	own := c.AddChain(&nftables.Chain{Name: "own", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	hairpins := map[netip.Addr]bool{}
	for _, f := range all {
		if len(f.endpoints) == 0 {
			for _, chain := range []*nftables.Chain{fwd, own} {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(f.match(), refuse(f.protocol)...)})
			}
			continue
		}
		for i, ep := range f.endpoints {
			for _, chain := range []*nftables.Chain{pre, out} {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: f.toEndpoint(ep, len(f.endpoints)-i)})
			}
			hairpins[ep.Addr()] = true
		}
	}
	for a := range hairpins {
		exprs := append(append(matchFamily(a), matchAddr(a, true)...), matchAddr(a, false)...)
		c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(exprs, &expr.Masq{})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables (nf_tables, nft_nat, nft_numgen, nft_masq, nft_reject in the kernel?): %w", err)
	}
	return nil
}

func l4proto(p corev1.Protocol) byte {
	if p == corev1.ProtocolUDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// match holds for packets to the virtual address and port.
func (f forward) match() []expr.Any {
	exprs := append(matchFamily(f.vip.Addr()), matchAddr(f.vip.Addr(), false)...)
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{l4proto(f.protocol)}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, f.vip.Port())},
	)
}

// toEndpoint sends one connection in n to the endpoint; rules of one address stand in a row with n
// counting down to 1, which makes every endpoint equally likely.
func (f forward) toEndpoint(ep netip.AddrPort, n int) []expr.Any {
	exprs := f.match()
	if n > 1 {
		exprs = append(exprs,
			&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)})
	}
	family := uint32(unix.NFPROTO_IPV4)
	if ep.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	return append(exprs,
		&expr.Immediate{Register: 1, Data: ep.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, ep.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2})
}

func matchFamily(a netip.Addr) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}}}
}

// matchAddr compares the packet's source or destination address.
func matchAddr(a netip.Addr, source bool) []expr.Any {
	offset := map[[2]bool]uint32{{true, true}: 12, {true, false}: 16, {false, true}: 8, {false, false}: 24}[[2]bool{a.Is4(), source}]
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(a.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

// refuse answers the way a closed port would.
func refuse(p corev1.Protocol) []expr.Any {
	if p == corev1.ProtocolUDP {
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	}
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
}
