package direct

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Kind of an Event.
type Kind uint16

// Kinds; as enum event_kind in bpf/src/node.c.
const (
	Opened Kind = 1 + iota
	Closed
	Failed // was never established
)

// Event is what became of a direct connection, as its client's socket saw it.
type Event struct {
	Kind   Kind
	At     time.Duration // by Now's clock
	Socket uint64        // its cookie
	NS     uint64        // cookie of the client's network namespace
	Local  netip.AddrPort
	Remote netip.AddrPort
	// Dialled is the service's address that the application named. Zero: Remote itself.
	Dialled netip.AddrPort
	// Sent and Received are bytes of the application, complete when Closed.
	Sent, Received uint64
}

// eventSize is that of struct event.
const eventSize = 96

func parse(b []byte) (e Event, ok bool) {
	if len(b) < eventSize {
		return e, false
	}
	ne := binary.NativeEndian
	at := func(addr, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[addr:])).Unmap(), ne.Uint16(b[port:]))
	}
	e = Event{At: time.Duration(ne.Uint64(b)), Socket: ne.Uint64(b[8:]), NS: ne.Uint64(b[16:]),
		Sent: ne.Uint64(b[24:]), Received: ne.Uint64(b[32:]), Local: at(40, 88), Remote: at(56, 90), Kind: Kind(ne.Uint16(b[94:]))}
	if d := at(72, 92); d.Port() != 0 {
		e.Dialled = d
	}
	// A SYN and a FIN count as a byte each, and where an end came without FIN there is nothing to take away.
	if e.Kind == Closed {
		e.Sent, e.Received = less(e.Sent, 2), less(e.Received, 1)
	}
	return e, true
}

func less(n, by uint64) uint64 { return n - min(n, by) }
