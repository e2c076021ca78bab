// Package spans makes spans of connections part of W3C traces, and sends them to a collector by OTLP.
//
// A connection has a Context: From joins the trace that it came with, if its traceparent can be read, else begins
// one. Whoever records it gives an Exporter a span when it is over. Add never waits: what a slow or missing
// collector leaves no room for is dropped and counted.
package spans

import (
	"encoding/hex"
	"math/rand/v2"
)

// Context is where a connection stands in a trace.
type Context struct {
	Trace  [16]byte
	Span   [8]byte
	Parent [8]byte // zeros: the span is the first of its trace
	// Recorded says that the spans of this trace are kept.
	Recorded bool
}

// From is a span of the trace that a traceparent header names, recorded if its caller does so. Where there is none,
// or none that can be read, it begins a trace, which is recorded at that percentage.
func From(traceparent string, percentage float64) Context {
	c, ok := parse(traceparent)
	if !ok {
		for i := 0; i < len(c.Trace); i += 8 {
			random(c.Trace[i:])
		}
		c.Recorded = percentage > 0 && rand.Float64()*100 < percentage
	}
	random(c.Span[:])
	return c
}

// Header is the traceparent for whom the span calls.
func (c Context) Header() string {
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	if c.Recorded {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// Next is the id of another span of the trace.
func (c Context) Next() (id [8]byte) {
	random(id[:])
	return id
}

// TraceID of what is recorded, in hexadecimal; else empty.
func (c Context) TraceID() string {
	if !c.Recorded {
		return ""
	}
	return hex.EncodeToString(c.Trace[:])
}

// parse reads version 00, and of later versions what they have in common with it.
func parse(s string) (c Context, ok bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return Context{}, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		into []byte
		from string
	}{{version[:], s[:2]}, {c.Trace[:], s[3:35]}, {c.Parent[:], s[36:52]}, {flags[:], s[53:55]}} {
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return Context{}, false
		}
	}
	if version[0] == 0xff || c.Trace == [16]byte{} || c.Parent == [8]byte{} {
		return Context{}, false
	}
	c.Recorded = flags[0]&1 == 1
	return c, true
}

// random fills 8 bytes, not all with zeros.
func random(b []byte) {
	for n, i := rand.Uint64(), 0; i < 8; n, i = n>>8, i+1 {
		b[i] = byte(n)
	}
	b[0] |= 1
}
