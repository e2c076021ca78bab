package engine

import "time"

// Options of a connection. Zero fields take the defaults.
type Options struct {
	// Client opens streams; otherwise the connection accepts them.
	Client bool
	// StreamWindow is how many bytes a peer may send on a stream before the driver consumed any. Default 1 MiB.
	StreamWindow int32
	// ConnWindow is the same for all streams together. Default 16 MiB.
	ConnWindow int32
	// Budget of received, unconsumed bytes of all streams, up to which connection credit is returned on
	// receipt, so that slow streams do not block quick ones. Default 8 MiB.
	Budget int
	// MaxFrame is the longest frame accepted. Default 1 MiB; at least 16 KiB.
	MaxFrame int
	// MaxSend bounds the DATA frames sent, whatever the peer accepts. Default 1 MiB.
	MaxSend int
	// MaxHeaders bounds a header block, compressed, and as the sum of names, values and 32 for each field.
	// Default 64 KiB.
	MaxHeaders int
	// MaxStreams bounds concurrent streams. Default 200 for a server, 100 for a client.
	MaxStreams int
	// PingEvery is the silence after which the peer is asked whether it lives. Default 10 s; negative: never.
	PingEvery time.Duration
	// PingTimeout is how long it may take to answer, and to acknowledge our SETTINGS. Default 20 s.
	PingTimeout time.Duration
	// StallTimeout bounds how long the preface and every frame but DATA may take to arrive. Default 10 s.
	StallTimeout time.Duration
	// Idle is how long a connection without streams is kept. Default 300 s for a client, 900 s for a server;
	// negative: for ever.
	Idle time.Duration
}

const (
	minFrame      = 16 << 10
	defaultWindow = 65535
	maxWindow     = 1<<31 - 1
)

func (o Options) withDefaults() Options {
	def(&o.StreamWindow, 1<<20)
	def(&o.ConnWindow, 16<<20)
	def(&o.Budget, 8<<20)
	def(&o.MaxFrame, 1<<20)
	o.MaxFrame = min(max(o.MaxFrame, minFrame), 1<<24-1)
	def(&o.MaxSend, 1<<20)
	def(&o.MaxHeaders, 64<<10)
	def(&o.PingEvery, 10*time.Second)
	def(&o.PingTimeout, 20*time.Second)
	def(&o.StallTimeout, 10*time.Second)
	if o.Client {
		def(&o.MaxStreams, 100)
		def(&o.Idle, 300*time.Second)
	} else {
		def(&o.MaxStreams, 200)
		def(&o.Idle, 900*time.Second)
	}
	o.ConnWindow = max(o.ConnWindow, defaultWindow)
	return o
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
