package hbone

import (
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// Limits bound what a connection may cost. Zero fields take the defaults.
type Limits struct {
	// Engine holds the protocol's limits: windows, frames, streams, keepalive.
	Engine engine.Options
	// Dial bounds connecting to the peer. Default 10 s.
	Dial time.Duration
	// Handshake bounds the TLS handshake. Default 10 s.
	Handshake time.Duration
	// Answer bounds how long the far end may take to answer a CONNECT. Default 20 s.
	Answer time.Duration
	// Write bounds how long the peer may leave its socket full while we have something to send.
	// Default 30 s.
	Write time.Duration
	// Handshakes under way at once on a server; more are turned away. Default 1024.
	Handshakes int
	// Batch is how many bytes are encrypted and written at once. Default 256 KiB.
	Batch int
	// RekeyAfter is how many records a key protects on shards before it is renewed. Default and most: 2^23.
	RekeyAfter uint64
	// Unsent is how many bytes the kernel may hold back unsent on a connection: small messages wait behind
	// them. Default 512 KiB; negative: no limit.
	Unsent int
}

func (l Limits) withDefaults() Limits {
	set := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	set(&l.Dial, 10*time.Second)
	set(&l.Handshake, 10*time.Second)
	set(&l.Answer, 20*time.Second)
	set(&l.Write, 30*time.Second)
	if l.Handshakes == 0 {
		l.Handshakes = 1024
	}
	if l.Batch == 0 {
		l.Batch = 256 << 10
	}
	l.Batch = max(l.Batch, 32<<10)
	if l.Unsent == 0 {
		l.Unsent = 512 << 10
	}
	return l
}

// Clock is the time that connections live by. Tests bring their own.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f on its own goroutine after d.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a *time.Timer made by AfterFunc.
type Timer interface {
	Stop() bool
	Reset(time.Duration) bool
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
