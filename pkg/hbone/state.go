package hbone

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
)

// StateVersion is of ConnState and all in it, but for engine.State, which has its own. Both sides of a hand-over
// must have the same.
const StateVersion = 1

// ConnState is a tunnel connection on its way to another process: plain data, for encoding/gob. Who has it can
// read and forge what the connection carries: it belongs neither on disk nor in a log, and may be imported once.
type ConnState struct {
	Version int
	FD      int          // the socket: a place among the descriptors
	Keys    record.State // secret
	Engine  engine.State
	// In is the beginning of a record. Out are sealed records that come before what the importer seals.
	In, Out []byte

	Peer             []byte // certificate
	PeerID           string
	Local, Remote    netip.AddrPort
	Key              KeyState // a Pool's
	Opened, NotAfter time.Time
	Retire, Until    time.Time

	Streams  []StreamState
	Requests []RequestState // of a Server
}

// KeyState is a Key.
type KeyState struct {
	Source   string
	SANs     []string
	SourceIP netip.Addr
	Dest     netip.AddrPort
}

// StreamState is a stream with the application's socket that is spliced to it.
type StreamState struct {
	ID    uint32
	FD    int    // the application's socket: a place among the descriptors
	Queue []byte // what the application has not taken
	// EOF: the tunnel's peer has finished. Finished: the application has.
	EOF, Finished bool
	// Failed and Ended: what epoll has seen of the socket.
	Failed, Ended   bool
	In, Out         uint64        // payload of the stream
	ToApp, ToTunnel uint64        // payload that has moved, as in SpliceOptions
	Idle            time.Duration // since something moved last
	Meta            []byte        // SpliceOptions.Meta's
}

// RequestState is a CONNECT that the Handler has not answered.
type RequestState struct {
	ID        uint32
	Authority string
	Header    Header
	Queue     []byte // what came behind it
	EOF       bool
}

// Format keeps keys and what applications say out of logs, whatever the verb.
func (ConnState) Format(f fmt.State, _ rune) { fmt.Fprint(f, "hbone.ConnState(secret)") }

func (k Key) state() KeyState {
	return KeyState{Source: k.Source, SANs: k.SANs.List(), SourceIP: k.SourceIP, Dest: k.Dest}
}

func (k KeyState) key() Key {
	return Key{Source: k.Source, SANs: MakeSANSet(k.SANs...), SourceIP: k.SourceIP, Dest: k.Dest}
}
