package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// attacker speaks HTTP/2 by hand.
type attacker struct {
	*http2.Framer
	c *tls.Conn
	t *testing.T
}

func (w *world) attacker(t *testing.T) *attacker {
	c := w.raw()
	io.WriteString(c, http2.ClientPreface)
	a := &attacker{Framer: http2.NewFramer(c, c), c: c, t: t}
	a.AllowIllegalWrites = true
	a.SetMaxReadFrameSize(1<<24 - 1)
	must(t, a.WriteSettings())
	return a
}

func (a *attacker) connect(id uint32, extra ...string) {
	var b strings.Builder
	e := hpack.NewEncoder(&b)
	e.WriteField(hpack.HeaderField{Name: ":method", Value: "CONNECT"})
	e.WriteField(hpack.HeaderField{Name: ":authority", Value: "10.0.0.1:80"})
	for i := 0; i+1 < len(extra); i += 2 {
		e.WriteField(hpack.HeaderField{Name: extra[i], Value: extra[i+1]})
	}
	a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte(b.String())})
}

// goAway reads until the server says why it ends the connection.
func (a *attacker) goAway() http2.ErrCode {
	for {
		f, err := a.ReadFrame()
		if err != nil {
			a.t.Fatalf("no GOAWAY: %v", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			return g.ErrCode
		}
	}
}

func TestFloodsAreCutOff(t *testing.T) {
	var mu sync.Mutex
	kinds := map[string]int{}
	w := newWorld(t, setup{serverEvents: &Events{Flood: func(kind string, c ConnInfo) {
		mu.Lock()
		defer mu.Unlock()
		kinds[kind]++
		if c.PeerID != clientID {
			t.Errorf("flood by %q", c.PeerID)
		}
	}}})
	neighbour := w.open() // goes on through all of it
	floods := map[string]func(a *attacker, i uint32){
		"ping":        func(a *attacker, i uint32) { a.WritePing(false, [8]byte{}) },
		"settings":    func(a *attacker, i uint32) { a.WriteSettings(http2.Setting{ID: 4, Val: i}) },
		"rapid-reset": func(a *attacker, i uint32) { a.connect(2*i + 1); a.WriteRSTStream(2*i+1, 8) },
		"empty-data": func(a *attacker, i uint32) {
			if i == 0 {
				a.connect(1)
			}
			a.WriteData(1, false, nil)
		},
		"window-update":  func(a *attacker, i uint32) { a.WriteWindowUpdate(0, 1) },
		"priority":       func(a *attacker, i uint32) { a.WritePriority(2*i+1, http2.PriorityParam{}) },
		"unknown-frames": func(a *attacker, i uint32) { a.WriteRawFrame(0xbb, 0, 0, nil) },
		"headers": func(a *attacker, i uint32) {
			if i == 0 {
				a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			}
			a.WriteContinuation(1, false, make([]byte, 100))
		},
	}
	for kind, f := range floods {
		t.Run(kind, func(t *testing.T) {
			a := w.attacker(t)
			go func() {
				for i := range uint32(20000) {
					if i%50 == 0 {
						a.c.SetWriteDeadline(time.Now().Add(5 * time.Second))
					}
					f(a, i)
				}
			}()
			if code := a.goAway(); code != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("ended by %v", code)
			}
			a.c.Close()
			eventually(t, "flood is reported", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return kinds[kind] == 1
			})
		})
	}
	neighbour.Write([]byte("still there"))
	neighbour.CloseWrite()
	if got, err := io.ReadAll(neighbour); string(got) != "still there" || err != nil {
		t.Errorf("the neighbour got %q, %v", got, err)
	}
	neighbour.Close()
	if n := w.server.Stats().Floods; n != uint64(len(floods)) {
		t.Errorf("%d floods counted", n)
	}
}

func TestOversizedFrame(t *testing.T) {
	w := newWorld(t, setup{})
	a := w.attacker(t)
	a.connect(1)
	go a.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20+1))
	if code := a.goAway(); code != http2.ErrCodeFrameSize {
		t.Errorf("ended by %v", code)
	}
}

func TestHeaderBombs(t *testing.T) {
	w := newWorld(t, setup{})
	a := w.attacker(t)
	a.connect(1, "a", strings.Repeat("x", 70<<10)) // Huffman: 7 bits each, so the block itself is short enough
	for {
		f, err := a.ReadFrame()
		must(t, err)
		if h, ok := f.(*http2.HeadersFrame); ok {
			fields, err := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
			must(t, err)
			if fields[0].Value != "431" {
				t.Errorf("answered %v", fields)
			}
			break
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != http2.ErrCodeEnhanceYourCalm && g.ErrCode != http2.ErrCodeCompression {
				t.Errorf("ended by %v", g.ErrCode)
			}
			break
		}
	}
}

func TestTooManyStreams(t *testing.T) {
	w := newWorld(t, setup{})
	a := w.attacker(t)
	go func() {
		for i := range uint32(201) {
			a.connect(2*i + 1)
		}
	}()
	for {
		f, err := a.ReadFrame()
		must(t, err)
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			if r.StreamID != 401 || r.ErrCode != http2.ErrCodeRefusedStream {
				t.Errorf("stream %d reset by %v", r.StreamID, r.ErrCode)
			}
			return
		}
	}
}

func TestHalfOpenHandshakesEnd(t *testing.T) {
	failed := make(chan string, 10)
	w := newWorld(t, setup{
		server:       Limits{Handshake: 5 * time.Second, Handshakes: 2},
		serverEvents: &Events{HandshakeFailed: func(cause string, _ netip.AddrPort, err error) { failed <- cause }},
	})
	for range 2 {
		c, err := net.Dial("tcp", w.addr.String())
		must(t, err)
		defer c.Close()
	}
	eventually(t, "both hold a place", func() bool { return len(w.server.hand) == 2 })
	c, err := net.Dial("tcp", w.addr.String())
	must(t, err)
	defer c.Close()
	if cause := <-failed; cause != CauseBusy {
		t.Errorf("the third failed by %q", cause)
	}
	for range 2 {
		if cause := <-failed; cause != CauseTimeout {
			t.Errorf("a silent one failed by %q", cause)
		}
	}
	w.open().Close() // and there is room again
}

func TestWhoMayNotComeIn(t *testing.T) {
	causes := make(chan string, 10)
	w := newWorld(t, setup{serverEvents: &Events{HandshakeFailed: func(cause string, _ netip.AddrPort, err error) { causes <- cause }}})
	other := newAuthority(t)
	soon := time.Now().Add(time.Hour)
	good := w.ca.leaf(t, clientID, soon)
	for name, tc := range map[string]struct {
		cfg   *tls.Config
		cause string
	}{
		"no certificate": {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}, CauseCertificate},
		"other mesh":     {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{other.leaf(t, clientID, soon)}}, CauseCertificate},
		"expired":        {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{w.ca.leaf(t, clientID, time.Now().Add(-time.Minute))}}, CauseCertificate},
		"no SPIFFE id":   {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{w.ca.leaf(t, "https://cluster.local/x", soon)}}, CauseCertificate},
		"no ALPN":        {&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{good}}, CauseCertificate},
		"TLS 1.2":        {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{good}}, CauseProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tls.Dial("tcp", w.addr.String(), tc.cfg)
			if err == nil {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err == nil {
				t.Error("came in")
			}
			if cause := <-causes; cause != tc.cause {
				t.Errorf("cause %q, want %q", cause, tc.cause)
			}
		})
	}
}

// A config that verifies nobody is a fault of ours, and nobody comes in.
func TestConfigThatVerifiesNobody(t *testing.T) {
	h := &handshake{}
	for _, c := range []*tls.Config{nil, {}, {ClientAuth: tls.RequireAnyClientCert}, {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}} {
		if _, err := h.config(c); err == nil {
			t.Errorf("server accepts %+v", c)
		}
	}
	h.client = true
	if _, err := h.config(&tls.Config{InsecureSkipVerify: true}); !errors.Is(err, errUnverified) {
		t.Errorf("client: %v", err)
	}
}

// Cut the connection after every byte of a conversation: the application never sees an orderly end.
func TestTruncation(t *testing.T) {
	ends := make(chan error, 1)
	w := newWorld(t, setup{handler: func(_ context.Context, r *Request) {
		s, err := r.Accept(nil)
		if err == nil {
			_, err = io.Copy(io.Discard, s)
			if err == nil {
				err = io.EOF
			}
			s.Close()
		}
		ends <- err
	}})
	var b strings.Builder
	f := http2.NewFramer(&b, nil)
	f.WriteSettings()
	(&attacker{Framer: f}).connect(1)
	asked := b.Len()
	f.WriteData(1, false, []byte("hello"))
	f.WriteData(1, false, []byte("world"))
	whole := b.Len()
	f.WriteData(1, true, nil)
	for cut := asked; cut <= b.Len(); cut++ {
		c := w.raw()
		io.WriteString(c, http2.ClientPreface+b.String()[:cut])
		finished := cut == b.Len()
		if !finished {
			c.Close()
		}
		if err := <-ends; finished != errors.Is(err, io.EOF) {
			t.Errorf("cut at %d of %d (data ends at %d): %v", cut, b.Len(), whole, err)
		}
		c.Close()
	}
}

// After the handshake, too, a client has 10 s to begin, and for every frame that it has begun.
func TestSlowLoris(t *testing.T) {
	w := newWorld(t, setup{server: Limits{Engine: engine.Options{StallTimeout: 2 * time.Second}}})
	for name, begin := range map[string]string{"nothing": "", "half a preface": http2.ClientPreface[:9], "half a frame": http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x06"} {
		t.Run(name, func(t *testing.T) {
			c := w.raw()
			io.WriteString(c, begin)
			if got, err := io.ReadAll(c); err != nil || !strings.Contains(string(got), "did not come within") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
