package bpf

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// packets builds what one attack sends.
type packets struct {
	i        int
	src, dst netip.Addr
	port     uint16
	sport    uint16
}

type tcp struct{ syn, ack, data, foreign, options bool }

func (a *packets) segment(o tcp) (*layers.TCP, gopacket.Payload) {
	t := &layers.TCP{SrcPort: layers.TCPPort(a.sport), DstPort: layers.TCPPort(a.port), Seq: binary.BigEndian.Uint32(token(a.i)),
		SYN: o.syn, ACK: o.ack, Window: 65535}
	var data gopacket.Payload
	if o.data {
		data = gopacket.Payload(token(a.i))
	}
	return t, data
}

func (a *packets) ip(t *layers.TCP, o tcp) gopacket.NetworkLayer {
	src := a.src
	if o.foreign {
		src = netip.MustParseAddr("10.77.0.99")
	}
	if a.src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: a.dst.AsSlice()}
		if o.options {
			ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}
		t.SetNetworkLayerForChecksum(ip)
		return ip
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: a.dst.AsSlice()}
	t.SetNetworkLayerForChecksum(ip)
	return ip
}

func (a *packets) build(o tcp) []byte {
	t, data := a.segment(o)
	return serialize(a.ip(t, o).(gopacket.SerializableLayer), t, data)
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func one(o tcp) func(*packets) [][]byte {
	return func(a *packets) [][]byte { return [][]byte{a.build(o)} }
}

// fragments4 puts the ports into the first fragment and the flags into the second.
func fragments4(a *packets) [][]byte {
	body := a.build(tcp{syn: true, data: true})[20:]
	body = append(body, make([]byte, 16)...)
	frag := func(flags layers.IPv4Flag, offset uint16, b []byte) []byte {
		return serialize(&layers.IPv4{Version: 4, TTL: 64, Id: uint16(a.i) + 1, Flags: flags, FragOffset: offset,
			Protocol: layers.IPProtocolTCP, SrcIP: a.src.AsSlice(), DstIP: a.dst.AsSlice()}, gopacket.Payload(b))
	}
	return [][]byte{frag(layers.IPv4MoreFragments, 0, body[:8]), frag(0, 1, body[8:])}
}

func inside4(proto layers.IPProtocol) func(*packets) [][]byte {
	return func(a *packets) [][]byte {
		return [][]byte{serialize(&layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: a.src.AsSlice(), DstIP: a.dst.AsSlice()},
			gopacket.Payload(a.build(tcp{syn: true})))}
	}
}

func inside6(a *packets) [][]byte {
	return [][]byte{serialize(&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: 41, SrcIP: a.src.AsSlice(), DstIP: a.dst.AsSlice()},
		gopacket.Payload(a.build(tcp{syn: true})))}
}

func extension(next uint8) func(*packets) [][]byte {
	return func(a *packets) [][]byte {
		header := []byte{6, 0, 1, 4, 0, 0, 0, 0} // PadN; as a fragment header: whole, TCP inside
		if next == 44 {
			header = []byte{6, 0, 0, 0, 0, 0, 0, byte(a.i)}
		}
		return [][]byte{serialize(&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(next), SrcIP: a.src.AsSlice(), DstIP: a.dst.AsSlice()},
			gopacket.Payload(append(header, a.build(tcp{syn: true})[40:]...)))}
	}
}

// patched is a SYN with one byte changed.
func patched(at int, to byte) func(*packets) [][]byte {
	return func(a *packets) [][]byte {
		b := a.build(tcp{syn: true})
		b[at] = to
		return [][]byte{b}
	}
}

func vlan(a *packets) [][]byte {
	return [][]byte{append([]byte{0, 5, 8, 0}, a.build(tcp{syn: true})...)}
}
