package engine

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Moved at every step, every story goes on as if nothing had happened.
func TestTranscriptsMoved(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			moves := 0
			got := replay(t, string(want), func(p *player) {
				if p.c.failed == nil { // twice a step; the second time to a process whose clock is another
					p.move(time.Duration(moves%2) * 1e6 * time.Second)
					moves++
				}
			})
			compare(t, got, string(want))
			if moves == 0 {
				t.Error("it was never moved")
			}
		})
	}
}

// move has another Conn go on, and by another clock.
func (p *player) move(by time.Duration) {
	var ended []*Stream
	for _, s := range p.streams {
		if s.Gone() {
			ended = append(ended, s)
		}
	}
	old := p.c
	st := must(old.Export(p.now, ended...))(p.t)
	if by == 0 {
		st = carried(p.t, st)
		defer func() { sameConn(p.t, old, p.c) }()
	}
	p.now = p.now.Add(by)
	c, streams, err := Import(st, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	p.c = c
	for _, s := range streams {
		p.streams[s.ID] = s
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// carried sends s through the encoding that the hand-over uses.
func carried(t *testing.T, s *State) *State {
	t.Helper()
	var b bytes.Buffer
	out := new(State)
	if err := errors.Join(gob.NewEncoder(&b).Encode(s), gob.NewDecoder(&b).Decode(out)); err != nil {
		t.Fatal(err)
	}
	return out
}

// sameConn compares all fields of two connections, those added later among them, but for buffers, scratch and
// hpack's own.
func sameConn(t *testing.T, a, b *Conn) {
	t.Helper()
	x, y := *a, *b
	for _, c := range []*Conn{&x, &y} {
		c.spare, c.evs, c.frames, c.decoder, c.decoding, c.now = nil, nil, false, nil, fieldSink{}, time.Time{}
		if c.rawLen < HeaderLen {
			c.frame, c.left = frameHeader{}, 0
		}
		clear(c.raw[c.rawLen:])
		c.out, c.body = append([]byte{}, c.out...), append([]byte{}, c.body...)
		if !c.block.open {
			c.block = headerBlock{}
		}
		for i := range c.floods {
			if c.floods[i].level == 0 {
				c.floods[i].at = time.Time{}
			}
		}
		if c.resets.level == 0 {
			c.resets.at = time.Time{}
		}
		c.early.blocks = append([][]byte{}, c.early.blocks...)
	}
	if !reflect.DeepEqual(x, y) {
		t.Fatalf("exported\n%+v\nimported\n%+v", x, y)
	}
}

// A move at any byte, in the middle of whatever it is.
func TestMoveAnywhere(t *testing.T) {
	b := opening(false)
	b = append(appendHeader(b, len(connectBlock())-2, frameHeaders, 0, 1), connectBlock()[:len(connectBlock())-2]...)
	b = append(appendHeader(b, 2, frameContinuation, flagEndHeaders, 1), connectBlock()[len(connectBlock())-2:]...)
	b = append(appendHeader(b, 5, frameData, 0, 1), "hello"...)
	b = append(appendHeader(b, 8, frameData, flagPadded, 1), "\x02hello\x00\x00"...)
	b = append(appendHeader(b, 2, frameHeaders, flagEndHeaders, 3), 0xbf, 0xbe) // needs the table that stream 1 filled
	b = append(appendHeader(b, 0, frameSettings, flagAck, 0), appendHeader(nil, 8, framePing, 0, 0)...)
	b = append(appendHeader(append(b, "12345678"...), 0, frameData, flagEndStream, 1), "\x00\x00"...)
	want := story(t, New(Options{}, time.Unix(1e9, 0)), b, len(b)+1)
	for i := range b {
		if got := story(t, New(Options{}, time.Unix(1e9, 0)), b, i); got != want {
			t.Errorf("moved at %d: got\n%swant\n%s", i, got, want)
		}
	}
}

// story is all that happens, with a move at a byte.
func story(t *testing.T, c *Conn, b []byte, at int) string {
	var kinds, data strings.Builder
	now := time.Unix(1e9, 0)
	receive := func(p []byte) {
		evs, err := c.Receive(p, now, nil)
		for _, e := range evs {
			if e.Kind == Data {
				data.Write(e.Data)
				continue
			}
			fmt.Fprint(&kinds, e.Kind, e.Header, e.Code, " ")
			if e.Stream != nil {
				fmt.Fprint(&kinds, e.Stream.ID)
			}
			kinds.WriteByte('\n')
		}
		if err != nil {
			fmt.Fprintln(&kinds, err)
		}
	}
	receive(b[:min(at, len(b))])
	if at <= len(b) && c.failed == nil {
		c, _, _ = Import(must(c.Export(now))(t), now)
		receive(b[at:])
	}
	return fmt.Sprintf("%s%q\n%x\n", &kinds, &data, c.Take())
}

func (s *Stream) String() string {
	if s == nil {
		return "-"
	}
	return fmt.Sprint(s.ID, s.sendWindow, s.recvWindow, s.unreturned, s.held, s.flags)
}

// FuzzMove gives the same bytes to a connection that stays and to one that is moved at every piece.
func FuzzMove(f *testing.F) {
	f.Add(append(opening(false), connectBlock()...), []byte{1, 2, 3}, false)
	f.Add(append(opening(true), 0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88), []byte{3}, true)
	f.Fuzz(func(t *testing.T, b, cuts []byte, client bool) {
		stays, moves := newFuzzed(client), newFuzzed(client)
		b = append(opening(client), b...)
		now := time.Unix(1e9, 0)
		for i := 0; len(b) > 0; i++ {
			n := len(b)
			if i < len(cuts) {
				n = min(n, 1+int(cuts[i]))
			}
			x, xerr := stays.Receive(b[:n], now, nil)
			y, yerr := moves.Receive(b[:n], now, nil)
			b = b[n:]
			if fmt.Sprint(x, xerr) != fmt.Sprint(y, yerr) || !bytes.Equal(stays.out, moves.out) {
				t.Fatalf("stays: %v %v %x\nmoves: %v %v %x", x, xerr, stays.out, y, yerr, moves.out)
			}
			if xerr != nil {
				return
			}
			for j := range x {
				answer(stays, x[j])
				answer(moves, y[j])
			}
			now = now.Add(time.Second)
			ended := over(y)
			st, err := moves.Export(now, ended...)
			if err != nil {
				if !moves.early.over {
					t.Fatal(err)
				}
				return
			}
			again, _, err := Import(carried(t, st), now)
			if err != nil {
				t.Fatal(err)
			}
			moves = again
		}
	})
}

// answer consumes at once, so that no stream that is over holds anything after it.
func answer(c *Conn, e Event) {
	switch e.Kind {
	case Request:
		c.Respond(e.Stream, 200, nil, e.Stream.ID%5 == 0)
	case Data:
		c.Consumed(e.Stream, len(e.Data))
	}
}

func over(evs []Event) (ended []*Stream) {
	for _, e := range evs {
		if e.Stream != nil && e.Stream.Gone() {
			ended = append(ended, e.Stream)
		}
	}
	return ended
}

// What cannot be moved says so.
func TestExportRefuses(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := New(Options{}, now)
	if _, err := c.Receive([]byte("GET / HTTP/1.1\r\n\r\n"), now, nil); err == nil {
		t.Fatal("taken")
	}
	if _, err := c.Export(now); err == nil {
		t.Error("a connection that has failed was exported")
	}
	c = New(Options{}, now)
	if _, err := c.Receive(opening(false), now, nil); err != nil {
		t.Fatal(err)
	}
	request := func(id uint32) {
		t.Helper()
		b := append(appendHeader(nil, len(connectBlock()), frameHeaders, flagEndHeaders, id), connectBlock()...)
		if evs, err := c.Receive(b, now, nil); err != nil {
			t.Fatal(err)
		} else if len(evs) > 0 {
			c.Reset(evs[0].Stream, Cancel)
		}
		c.Take()
	}
	id := uint32(1)
	for ; !c.early.over; id += 2 {
		must(c.Export(now))(t)
		now = now.Add(time.Second)
		request(id)
	}
	if _, err := c.Export(now); err == nil || c.early.blocks != nil {
		t.Error("a table that is not known was exported")
	}
	// Once the peer knows that it has no table, there is nothing more to know.
	if _, err := c.Receive(appendHeader(nil, 0, frameSettings, flagAck, 0), now, nil); err != nil {
		t.Fatal(err)
	}
	must(c.Export(now))(t)
}

// An export changes nothing: the exporter may go on if the importer does not.
func TestExportIsACopy(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := New(Options{}, now)
	if _, err := c.Receive(append(opening(false), 0, 0), now, nil); err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(c.out)
	s := must(c.Export(now))(t)
	moved, _, err := Import(s, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{s.Out, s.Raw, moved.out} {
		for i := range b {
			b[i] ^= 0xff
		}
	}
	moved.GoAway()
	if !bytes.Equal(c.out, before) || c.Draining() || c.raw[0] != 0 {
		t.Error("both have the same bytes")
	}
}

// What a driver leaves behind counts as consumed.
func TestExportLeavesBehind(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := append(opening(false), appendHeader(nil, len(connectBlock()), frameHeaders, flagEndHeaders, 1)...)
	b = appendHeader(append(b, connectBlock()...), 1000, frameData, flagEndStream, 1)
	c := New(Options{}, now)
	evs, err := c.Receive(append(b, make([]byte, 1000)...), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := evs[1].Stream
	c.Respond(s, 200, nil, false)
	c.End(s)
	if !s.Gone() || c.held != 1000 {
		t.Fatalf("held %d", c.held)
	}
	for _, ended := range [][]*Stream{nil, {s}} {
		moved, streams, err := Import(must(c.Export(now, ended...))(t), now)
		if err != nil || len(streams) != len(ended) || moved.held != 1000*len(ended) || moved.Streams() != 0 {
			t.Fatalf("%d streams, %d bytes held, %v", len(streams), moved.held, err)
		}
		for _, x := range streams {
			moved.Consumed(x, 1000)
		}
		if moved.held != 0 {
			t.Errorf("%d bytes are held for ever", moved.held)
		}
	}
}

func TestImportRefusesNonsense(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, spoil := range map[string]func(*State){
		"version":        func(s *State) { s.Version++ },
		"options":        func(s *State) { s.Options.MaxFrame = 1 },
		"preface":        func(s *State) { s.Preface = 25 },
		"frame":          func(s *State) { s.Raw = make([]byte, 10) },
		"left":           func(s *State) { s.Left = -1 },
		"padding":        func(s *State) { s.Pad = 3 },
		"body":           func(s *State) { s.Body = make([]byte, 1<<20) },
		"counters":       func(s *State) { s.Floods = nil },
		"closed":         func(s *State) { s.Closed = make([]uint32, 3) },
		"window":         func(s *State) { s.SendWindow = 1 << 31 },
		"receive window": func(s *State) { s.RecvWindow = 1 << 31 },
		"next":           func(s *State) { s.NextID = 2 },
		"stream twice":   func(s *State) { s.Streams = append(s.Streams, s.Streams[0]) },
		"stream":         func(s *State) { s.Streams[0].ID = 99 },
		"held":           func(s *State) { s.Streams[0].Held = -1 },
		"early":          func(s *State) { s.SettingsAt, s.Early = 0, [][]byte{{0xff}} },
	} {
		c := newFuzzed(true)
		st := must(c.Export(now))(t)
		if _, _, err := Import(st, now); err != nil {
			t.Fatal(err)
		}
		spoil(st)
		if _, _, err := Import(st, now); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever changes the state's fields must say so by StateVersion: a process of the other version would
// misunderstand them.
func TestStateVersion(t *testing.T) {
	var b strings.Builder
	shape(&b, reflect.TypeFor[State](), "")
	want, err := os.ReadFile("testdata/state.golden")
	if got := fmt.Sprintf("version %d\n%s", StateVersion, &b); got != string(want) {
		if *update {
			err = os.WriteFile("testdata/state.golden", []byte(got), 0o644)
		} else {
			t.Errorf("the state has other fields now: change StateVersion and rewrite testdata/state.golden by -update\n%s", got)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func shape(b *strings.Builder, x reflect.Type, indent string) {
	for x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice {
		x = x.Elem()
	}
	if x.Kind() != reflect.Struct {
		return
	}
	for i := range x.NumField() {
		fmt.Fprintf(b, "%s%s %s\n", indent, x.Field(i).Name, x.Field(i).Type)
		shape(b, x.Field(i).Type, indent+"  ")
	}
}
