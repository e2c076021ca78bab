package engine

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts replays the stories in testdata. Lines of input stay, lines of output are compared:
//
//	# comment, or an empty line
//	role server|client [option=value ...]
//	> FRAME stream [flags] [fields or values]   bytes from the peer; "> hex 00ff", "> preface", "> cut n FRAME ..."
//	do open|respond|send|end|reset|consume|goaway ...   what the driver does
//	tick 10s                                     the clock moves
//	< FRAME ...                                  what goes to the peer
//	! event ...                                  what the driver is told
func TestTranscripts(t *testing.T) {
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
			got := replay(t, string(want), func(*player) {})
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, got, string(want))
		})
	}
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d: got\n%s\nwant\n%s", i+1, strings.Join(g[i:min(i+5, len(g))], "\n"), strings.Join(w[min(i, len(w)):min(i+5, len(w))], "\n"))
		}
	}
	t.Fatalf("got\n%s\nwant\n%s", got, want)
}

// player is one side, as a transcript drives it.
type player struct {
	t       *testing.T
	o       Options
	c       *Conn
	now     time.Time
	streams map[uint32]*Stream
	out     strings.Builder
	encoded bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	over    bool
}

// replay calls hop wherever a driver could stop.
func replay(t *testing.T, script string, hop func(*player)) string {
	p := &player{t: t, now: time.Unix(1e9, 0), streams: map[uint32]*Stream{}, decoder: hpack.NewDecoder(4096, nil)}
	p.encoder = hpack.NewEncoder(&p.encoded)
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, "<") || strings.HasPrefix(line, "!") {
			continue
		}
		fmt.Fprintln(&p.out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.line(strings.Fields(line)); err != nil {
			t.Fatalf("line %d: %q: %v", i+1, line, err)
		}
		hop(p)
		p.flush()
		hop(p)
	}
	return p.out.String()
}

func (p *player) line(w []string) error {
	switch w[0] {
	case "role":
		return p.role(w[1:])
	case ">":
		b, err := p.frame(w[1:])
		if err == nil {
			p.receive(b)
		}
		return err
	case "do":
		return p.do(w[1:])
	case "tick":
		d, err := time.ParseDuration(w[1])
		p.now = p.now.Add(d)
		next, e := p.c.Tick(p.now)
		if p.errorLine(e); e == nil {
			fmt.Fprintf(&p.out, "! next tick in %v\n", next.Sub(p.now))
		}
		return err
	}
	return fmt.Errorf("unknown line")
}

func (p *player) role(w []string) error {
	p.o = Options{Client: w[0] == "client"}
	for _, kv := range w[1:] {
		k, v, _ := strings.Cut(kv, "=")
		n, err := strconv.Atoi(v)
		if err != nil {
			return err
		}
		switch k {
		case "stream-window":
			p.o.StreamWindow = int32(n)
		case "conn-window":
			p.o.ConnWindow = int32(n)
		case "budget":
			p.o.Budget = n
		case "max-frame":
			p.o.MaxFrame = n
		case "max-streams":
			p.o.MaxStreams = n
		case "max-headers":
			p.o.MaxHeaders = n
		default:
			return fmt.Errorf("unknown option %s", k)
		}
	}
	p.c = New(p.o, p.now)
	return nil
}

func (p *player) receive(b []byte) {
	evs, err := p.c.Receive(b, p.now, nil)
	for _, e := range evs {
		p.event(e)
	}
	p.errorLine(err)
}

func (p *player) errorLine(err error) {
	if err != nil && !p.over {
		fmt.Fprintf(&p.out, "! error %v\n", err)
		p.over = true
	}
}

func (p *player) event(e Event) {
	fmt.Fprintf(&p.out, "! %v", e.Kind)
	if e.Stream != nil {
		fmt.Fprintf(&p.out, " %d", e.Stream.ID)
		p.streams[e.Stream.ID] = e.Stream
	}
	switch e.Kind {
	case Data:
		fmt.Fprintf(&p.out, " %d bytes", len(e.Data))
	case Response:
		fmt.Fprintf(&p.out, " %d", e.Status)
	case Reset, GoAway:
		fmt.Fprintf(&p.out, " %v", e.Code)
		if e.Local {
			p.out.WriteString(" local")
		}
	}
	for _, f := range e.Header {
		fmt.Fprintf(&p.out, " %s=%s", f.Name, f.Value)
	}
	p.out.WriteByte('\n')
}

func (p *player) do(w []string) error {
	arg := func(i int) int {
		n := 0
		if i < len(w) {
			n, _ = strconv.Atoi(w[i])
		}
		return n
	}
	s := p.streams[uint32(arg(1))]
	switch w[0] {
	case "open":
		s, err := p.c.Open(w[1], fieldsOf(w[2:]), nil)
		if err != nil {
			fmt.Fprintf(&p.out, "! %v\n", err)
			return nil
		}
		p.streams[s.ID] = s
	case "respond":
		p.c.Respond(s, arg(2), nil, arg(2) != 200)
	case "send":
		n := min(arg(2), p.c.Sendable(s))
		fmt.Fprintf(&p.out, "! may send %d\n", n)
		if n > 0 {
			p.c.Send(s, make([]byte, n))
		}
	case "end":
		p.c.End(s)
	case "reset":
		p.c.Reset(s, Cancel)
	case "consume":
		p.c.Consumed(s, arg(2))
	case "goaway":
		p.c.GoAway()
	case "count":
		fmt.Fprintf(&p.out, "! %d streams, %d bytes held\n", p.c.Streams(), p.c.held)
	default:
		return fmt.Errorf("cannot do that")
	}
	return nil
}

// frame builds what the peer sends.
func (p *player) frame(w []string) ([]byte, error) {
	switch w[0] {
	case "preface":
		return []byte(Preface), nil
	case "hex":
		return hex.DecodeString(strings.Join(w[1:], ""))
	case "text":
		return []byte(strings.Join(w[1:], " ")), nil
	case "cut", "times":
		n, err := strconv.Atoi(w[1])
		if err != nil {
			return nil, err
		}
		b, err := p.frame(w[2:])
		if err == nil && w[0] == "cut" {
			return b[:n], nil
		}
		return bytes.Repeat(b, n), err
	}
	return buildFrame(w, func(fields []Field) []byte {
		p.encoded.Reset()
		for _, f := range fields {
			p.encoder.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value})
		}
		return p.encoded.Bytes()
	})
}

// buildFrame writes a frame from its text, legal or not: "TYPE stream words...", the words being flags,
// numbers, n×octet ("100x00") and name=value.
func buildFrame(w []string, encode func([]Field) []byte) ([]byte, error) {
	types := map[string]byte{"DATA": 0, "HEADERS": 1, "PRIORITY": 2, "RST_STREAM": 3, "SETTINGS": 4, "PUSH_PROMISE": 5, "PING": 6, "GOAWAY": 7, "WINDOW_UPDATE": 8, "CONTINUATION": 9, "UNKNOWN": 200}
	flags := map[string]byte{"end": 1, "ack": 1, "end_headers": 4, "padded": 8, "priority": 32}
	settings := map[string]uint16{"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "headers": 6}
	typ, ok := types[w[0]]
	if !ok || len(w) < 2 {
		return nil, fmt.Errorf("unknown frame")
	}
	stream, err := strconv.ParseUint(w[1], 10, 32)
	if err != nil {
		return nil, err
	}
	var flag byte
	var payload []byte
	var fields []Field
	for _, x := range w[2:] {
		if f, ok := flags[x]; ok {
			flag |= f
			continue
		}
		if n, octet, ok := strings.Cut(x, "x"); ok && !strings.Contains(x, "=") {
			count, err := strconv.Atoi(n)
			if err != nil {
				return nil, err
			}
			b, err := hex.DecodeString(octet)
			if err != nil {
				return nil, err
			}
			payload = append(payload, bytes.Repeat(b, count)...)
			continue
		}
		if name, v, ok := strings.Cut(x, "="); ok && typ == 4 {
			n, _ := strconv.ParseUint(v, 10, 32)
			payload = append(payload, byte(settings[name]>>8), byte(settings[name]), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
			continue
		} else if ok {
			fields = append(fields, Field{name, v})
			continue
		}
		n, err := strconv.ParseUint(x, 10, 32)
		if err != nil {
			return nil, err
		}
		payload = append(payload, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	if fields != nil {
		payload = append(payload, encode(fields)...)
	}
	return append(appendHeader(nil, len(payload), typ, flag, uint32(stream)), payload...), nil
}

func fieldsOf(w []string) (fs []Field) {
	for _, x := range w {
		k, v, _ := strings.Cut(x, "=")
		fs = append(fs, Field{k, v})
	}
	return fs
}

// flush shows what goes to the peer, as an independent implementation reads it.
func (p *player) flush() {
	out := p.c.Take()
	if rest, ok := bytes.CutPrefix(out, []byte(Preface)); ok {
		fmt.Fprintln(&p.out, "< preface")
		out = rest
	}
	fr := http2.NewFramer(nil, bytes.NewReader(out))
	fr.SetMaxReadFrameSize(1<<24 - 1)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if len(out) > 0 && err.Error() != "EOF" {
				p.t.Fatalf("own output is unreadable: %v: %x", err, out)
			}
			return
		}
		p.show(f)
	}
}

func (p *player) show(f http2.Frame) {
	h := f.Header()
	fmt.Fprintf(&p.out, "< %v %d", h.Type, h.StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			p.out.WriteString(" ack")
		}
		f.ForeachSetting(func(s http2.Setting) error {
			fmt.Fprintf(&p.out, " %v=%d", s.ID, s.Val)
			return nil
		})
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			p.out.WriteString(" end")
		}
		fields, err := p.decoder.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			p.t.Fatalf("own header block is unreadable: %v", err)
		}
		for _, x := range fields {
			fmt.Fprintf(&p.out, " %s=%s", x.Name, x.Value)
		}
	case *http2.DataFrame:
		if f.StreamEnded() {
			p.out.WriteString(" end")
		}
		fmt.Fprintf(&p.out, " %d bytes", len(f.Data()))
	case *http2.WindowUpdateFrame:
		fmt.Fprintf(&p.out, " %d", f.Increment)
	case *http2.RSTStreamFrame:
		fmt.Fprintf(&p.out, " %v", Code(f.ErrCode))
	case *http2.PingFrame:
		fmt.Fprintf(&p.out, " %q", f.Data)
		if f.IsAck() {
			p.out.WriteString(" ack")
		}
	case *http2.GoAwayFrame:
		fmt.Fprintf(&p.out, " last=%d %v %q", f.LastStreamID, Code(f.ErrCode), f.DebugData())
	}
	p.out.WriteByte('\n')
}
