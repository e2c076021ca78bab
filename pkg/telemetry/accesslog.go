package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Format of an access log.
type Format string

// Formats.
const (
	FormatOff  Format = "off"
	FormatJSON Format = "json"
	FormatText Format = "text"
)

// ParseFormat reads the value of a flag.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatOff, FormatJSON, FormatText:
		return f, nil
	}
	return FormatOff, fmt.Errorf("access log format %q: want json, text or off", s)
}

// Record is one connection in the access log, written when it ends.
type Record struct {
	Time      time.Time // when it opened
	Duration  time.Duration
	Direction string // outbound, inbound, inbound-plaintext
	Source    End
	Dest      End
	Service   string         // host name of the service that the client dialled, if any
	Via       string         // waypoint that it went through, if any
	Host      netip.AddrPort // address that the client dialled
	Security  Security
	Flags     Flag
	Sent      uint64 // bytes, source to destination
	Received  uint64
	Retries   int      // endpoints that could not be reached before the last one
	Policy    string   // policy that refused it
	Fault     string   // Fault that acted on it, and how
	DryRun    []string // dry-run policies that would have refused it
	Cause     string   // what went wrong, empty when nothing did
	Hint      string   // likely cause and next step
	Trace     string   // id of its trace, if that is recorded
}

// End is one side of a connection in the access log.
type End struct {
	Address  netip.AddrPort
	Identity string // spiffe://..., only when verified or ours
	Workload string // namespace/pod
}

// maxPending bounds the bytes that wait for a slow reader of the log.
const maxPending = 4 << 20

// AccessLog writes a line per connection. Who logs never waits: lines collect while a write is under way,
// and are lost when the reader falls far behind or the disk is full; see Lost. A nil *AccessLog writes nothing.
type AccessLog struct {
	format Format
	w      io.Writer // used by one flush at a time
	lost   atomic.Uint64

	mu      sync.Mutex    // protects what follows
	pending []byte        // whole lines
	spare   []byte        // for the next pending
	idle    chan struct{} // closed when no flush is under way; nil while none ever was
	writing bool
}

// NewAccessLog writes to w. It returns nil for FormatOff.
func NewAccessLog(w io.Writer, f Format) *AccessLog {
	if f == FormatOff || f == "" || w == nil {
		return nil
	}
	return &AccessLog{w: w, format: f}
}

var lines = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Write logs one connection.
func (l *AccessLog) Write(r *Record) {
	if l == nil {
		return
	}
	b := lines.Get().(*[]byte)
	defer lines.Put(b)
	if l.format == FormatJSON {
		*b = appendJSON((*b)[:0], r)
	} else {
		*b = appendText((*b)[:0], r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(*b) > maxPending {
		l.lost.Add(1)
		return
	}
	l.pending = append(l.pending, *b...)
	if !l.writing {
		l.writing, l.idle = true, make(chan struct{})
		go l.flush()
	}
}

// flush writes what is pending, and what comes meanwhile, and ends.
func (l *AccessLog) flush() {
	for {
		l.mu.Lock()
		if len(l.pending) == 0 {
			l.writing = false
			close(l.idle)
			l.mu.Unlock()
			return
		}
		b := l.pending
		l.pending = l.spare[:0]
		l.mu.Unlock()
		if _, err := l.w.Write(b); err != nil {
			l.lost.Add(uint64(bytes.Count(b, []byte{'\n'})))
		}
		l.mu.Lock()
		l.spare = b[:0]
		l.mu.Unlock()
	}
}

// Flush waits until everything logged so far is written, at most for limit, and reports whether it is.
func (l *AccessLog) Flush(limit time.Duration) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return true
	}
	select {
	case <-idle:
		return true
	case <-time.After(limit):
		return false
	}
}

// Lost counts lines that were not written.
func (l *AccessLog) Lost() uint64 {
	if l == nil {
		return 0
	}
	return l.lost.Load()
}
