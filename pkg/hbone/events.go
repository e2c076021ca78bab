package hbone

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Events are told what happens to connections. Every field may be nil; none may block.
type Events struct {
	// ConnOpened: a handshake succeeded.
	ConnOpened func(ConnInfo)
	// ConnClosed: a connection ended; err is nil for an orderly end.
	ConnClosed func(c ConnInfo, err error)
	// HandshakeFailed, with one of the Cause constants.
	HandshakeFailed func(cause string, remote netip.AddrPort, err error)
	// Flood: a peer was cut off for doing too much of kind ("ping", "rapid-reset", ...).
	Flood func(kind string, c ConnInfo)
}

// Why handshakes fail.
const (
	CauseTimeout     = "timeout"
	CauseCertificate = "peer-certificate"
	CauseRefused     = "refused-by-peer"
	CauseProtocol    = "protocol"
	CauseConfig      = "own-certificate"
	CauseBusy        = "too-many-handshakes"
	CauseOther       = "other"
)

// ConnInfo describes a tunnel connection.
type ConnInfo struct {
	// PeerID is the SPIFFE URI of the verified certificate.
	PeerID        string
	Local, Remote netip.AddrPort
	// Key under which a Pool keeps it; zero on a server.
	Key Key
	// NotAfter is when the first of both certificates ends, and the connection with it, unless its streams
	// are vouched for.
	NotAfter time.Time
	Opened   time.Time
	// Streams open now.
	Streams int
	// Draining: no new streams.
	Draining bool
}

// Stats count since the start of a Server or Pool.
type Stats struct {
	Conns, HandshakesFailed, Streams, StreamsRefused, Floods uint64
	// BytesIn and BytesOut are payload of finished and running streams.
	BytesIn, BytesOut uint64
}

type counters struct {
	conns, failed, streams, refused, floods, in, out atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{Conns: c.conns.Load(), HandshakesFailed: c.failed.Load(), Streams: c.streams.Load(),
		StreamsRefused: c.refused.Load(), Floods: c.floods.Load(), BytesIn: c.in.Load(), BytesOut: c.out.Load()}
}
