package engine

import (
	"bytes"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// The engine decides without I/O: what it imports cannot do any.
func TestNoIO(t *testing.T) {
	pkgs, err := parser.ParseDir( //nolint:staticcheck // imports are all that is wanted
		token.NewFileSet(), ".", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"encoding/binary": true, "errors": true, "fmt": true, "slices": true, "strconv": true, "strings": true, "time": true, "golang.org/x/net/http2/hpack": true}
	for _, p := range pkgs {
		for name, f := range p.Files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, i := range f.Imports {
				if path, _ := strconv.Unquote(i.Path.Value); !allowed[path] {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}

// opening is what a good peer of either role begins with.
func opening(client bool) []byte {
	settings := appendHeader(nil, 0, frameSettings, 0, 0)
	if client {
		return settings
	}
	return append([]byte(Preface), settings...)
}

func connectBlock() []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.WriteField(hpack.HeaderField{Name: ":method", Value: "CONNECT"})
	e.WriteField(hpack.HeaderField{Name: ":authority", Value: "10.0.0.1:80"})
	return b.Bytes()
}

// check holds the engine to what it promises, whatever came.
func check(t *testing.T, c *Conn, in, out int) {
	t.Helper()
	held := 0
	for id, s := range c.streams {
		if s.ID != id || s.Gone() {
			t.Fatalf("stream %d in the table is %+v", id, s)
		}
		if s.held < 0 || s.held > c.o.StreamWindow {
			t.Fatalf("stream %d holds %d bytes of a window of %d", id, s.held, c.o.StreamWindow)
		}
		held += int(s.held)
	}
	if held > c.held || c.held < 0 || c.held > int(c.o.ConnWindow)+c.o.Budget {
		t.Fatalf("%d bytes held, %d by streams", c.held, held)
	}
	if len(c.streams) > c.o.MaxStreams {
		t.Fatalf("%d streams", len(c.streams))
	}
	if len(c.body) > max(c.o.MaxHeaders, minFrame) || len(c.block.bytes) > c.o.MaxHeaders {
		t.Fatalf("buffered %d and %d bytes of a frame", len(c.body), len(c.block.bytes))
	}
	// What we answer is in proportion to what was sent: no frame of 9 bytes causes more than a few.
	if out > 16*in+4096 {
		t.Fatalf("%d bytes answered to %d", out, in)
	}
}

// drive feeds b in the pieces that cuts say, and answers like a driver.
func drive(t *testing.T, c *Conn, b, cuts []byte) {
	now := time.Unix(1e9, 0)
	in, out := len(b), len(c.Take())*0
	seen := map[*Stream]bool{}
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if i < len(cuts) {
			n = min(n, 1+int(cuts[i])*3)
		}
		evs, err := c.Receive(b[:n], now, nil)
		b = b[n:]
		for _, e := range evs {
			obey(t, c, e, seen)
		}
		out += len(c.Take())
		check(t, c, in, out)
		if err != nil {
			if evs, again := c.Receive([]byte("x"), now, nil); again == nil || len(evs) > 0 {
				t.Fatal("alive after a fatal error")
			}
			return
		}
		now = now.Add(time.Millisecond)
	}
	c.Tick(now.Add(time.Hour))
}

func obey(t *testing.T, c *Conn, e Event, seen map[*Stream]bool) {
	s := e.Stream
	if s != nil && seen[s] {
		t.Fatalf("%v after the end of stream %d", e.Kind, s.ID)
	}
	switch e.Kind {
	case Request:
		c.Respond(s, 200, nil, false)
	case Data:
		if len(e.Data) == 0 {
			t.Fatal("data event without data")
		}
		if s.ID%3 != 0 { // some applications do not read
			c.Consumed(s, len(e.Data))
		}
		if n := min(c.Sendable(s), len(e.Data)); n > 0 {
			c.Send(s, e.Data[:n])
		}
	case End:
		if s.ID%5 == 0 {
			c.End(s)
		}
		seen[s] = s.has(sentEnd) // otherwise a reset may follow, in the same events
	case Reset:
		seen[s] = true
		if !s.Gone() {
			t.Fatalf("stream %d was reset and is still there", s.ID)
		}
	}
}

func newFuzzed(client bool) *Conn {
	c := New(Options{Client: client, StreamWindow: 4096, ConnWindow: defaultWindow, Budget: 2048, MaxFrame: minFrame, MaxHeaders: 4096, MaxStreams: 10}, time.Unix(1e9, 0))
	if client {
		for range 5 {
			c.Open("10.0.0.1:80", nil, nil)
		}
	}
	return c
}

// FuzzEngine feeds bytes to both roles.
func FuzzEngine(f *testing.F) {
	req := appendHeader(nil, len(connectBlock()), frameHeaders, flagEndHeaders, 1)
	req = append(req, connectBlock()...)
	f.Add(append(opening(false), req...), []byte{1, 2, 3})
	f.Add(append(opening(true), append(appendHeader(nil, 1, frameHeaders, flagEndHeaders, 1), 0x88)...), []byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{0})
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		drive(t, newFuzzed(false), b, cuts)
		drive(t, newFuzzed(true), b, cuts)
		drive(t, newFuzzed(false), append(opening(false), b...), cuts)
	})
}

// FuzzFrames feeds well-formed frames in any order: each six bytes are a type, flags, a stream, a length and
// two of payload.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 4, 1, 0, 0, 0, 0, 0, 1, 30, 7, 7, 8, 0, 1, 4, 0, 9, 3, 0, 1, 4, 0, 8}, []byte{9})
	f.Add([]byte{4, 0, 0, 6, 0, 4, 7, 0, 0, 8, 0, 0, 6, 0, 0, 8, 1, 1}, []byte{})
	f.Fuzz(func(t *testing.T, spec, cuts []byte) {
		var b []byte
		for ; len(spec) >= 6; spec = spec[6:] {
			typ, n := spec[0]%11, int(spec[3])*int(spec[3])
			payload := bytes.Repeat(spec[4:6], n/2)
			switch {
			case typ == frameHeaders && spec[4]%2 == 0:
				payload = connectBlock()
				if spec[5]%2 == 0 {
					payload = []byte{0x88}
				}
			case typ == frameSettings:
				payload = bytes.Repeat(append([]byte{0, spec[4] % 8, 0, 0}, spec[4:6]...), n/6%8)
			case typ == frameRST || typ == frameWindowUpdate:
				payload = append([]byte{0, 0}, spec[4:6]...)
			}
			b = appendHeader(b, len(payload), typ, spec[1], uint32(spec[2]%32))
			b = append(b, payload...)
		}
		drive(t, newFuzzed(false), append(opening(false), b...), cuts)
		drive(t, newFuzzed(true), append(opening(true), b...), cuts)
	})
}

// However a conversation is cut, the same events come out of it.
func TestCutAnywhere(t *testing.T) {
	b := opening(false)
	b = append(appendHeader(b, len(connectBlock()), frameHeaders, flagEndHeaders, 1), connectBlock()...)
	b = append(appendHeader(b, 5, frameData, 0, 1), "hello"...)
	b = append(appendHeader(b, 8, frameData, flagPadded, 1), "\x02hello\x00\x00"...)
	b = append(appendHeader(b, 8, framePing, 0, 0), "12345678"...)
	b = appendHeader(b, 0, frameData, flagEndStream, 1)
	run := func(parts ...[]byte) (data, kinds string) {
		c := New(Options{}, time.Unix(1e9, 0))
		for _, p := range parts {
			evs, err := c.Receive(bytes.Clone(p), time.Unix(1e9, 0), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range evs {
				if data += string(e.Data); e.Kind != Data {
					kinds += e.Kind.String() + " "
				}
			}
		}
		return data, kinds
	}
	for i := range b {
		data, kinds := run(b[:i], b[i:])
		if data != "hellohello" || kinds != "settled request end " {
			t.Errorf("cut at %d: %q, %s", i, data, kinds)
		}
		// And a conversation that stops there has no end.
		if _, kinds := run(b[:i]); strings.Contains(kinds, "end") {
			t.Errorf("ended at %d of %d bytes", i, len(b))
		}
	}
}

// A connection without traffic costs little.
func TestConnAllocations(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := New(Options{}, now)
	c.Receive(opening(false), now, nil)
	req := append(appendHeader(nil, len(connectBlock()), frameHeaders, flagEndHeaders, 1), connectBlock()...)
	evs, err := c.Receive(req, now, nil)
	if err != nil || len(evs) != 1 {
		t.Fatal(evs, err)
	}
	s := evs[0].Stream
	c.Respond(s, 200, nil, false)
	c.Take()
	data := append(appendHeader(nil, 1000, frameData, 0, 1), make([]byte, 1000)...)
	evs = make([]Event, 0, 8)
	n := testing.AllocsPerRun(1000, func() {
		evs, err = c.Receive(data, now, evs[:0])
		if err != nil {
			t.Fatal(err)
		}
		c.Consumed(s, 1000)
		c.Recycle(c.Take())
	})
	if n > 0 {
		t.Errorf("%v allocations for a DATA frame", n)
	}
}
