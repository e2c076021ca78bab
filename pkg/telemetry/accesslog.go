package telemetry

import (
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
	Policy    string   // policy that refused it
	DryRun    []string // dry-run policies that would have refused it
	Cause     string   // what went wrong, empty when nothing did
	Hint      string   // likely cause and next step
}

// End is one side of a connection in the access log.
type End struct {
	Address  netip.AddrPort
	Identity string // spiffe://..., only when verified or ours
	Workload string // namespace/pod
}

// AccessLog writes a line per connection. A nil *AccessLog writes nothing.
type AccessLog struct {
	format Format
	lost   atomic.Uint64

	mu sync.Mutex // one line at a time
	w  io.Writer
}

// NewAccessLog writes to w, one Write per line. It returns nil for FormatOff.
func NewAccessLog(w io.Writer, f Format) *AccessLog {
	if f == FormatOff || f == "" || w == nil {
		return nil
	}
	return &AccessLog{w: w, format: f}
}

var lines = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Write logs one connection. A full disk loses lines, never connections: see Lost.
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
	_, err := l.w.Write(*b)
	l.mu.Unlock()
	if err != nil {
		l.lost.Add(1)
	}
}

// Lost counts lines that could not be written.
func (l *AccessLog) Lost() uint64 {
	if l == nil {
		return 0
	}
	return l.lost.Load()
}
