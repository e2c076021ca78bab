package hbone

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/record"
)

// tap relays connections to a tunnel's port and counts the records of a KeyUpdate's length on the way.
type tap struct {
	addr    netip.AddrPort
	updates [2]atomic.Int64 // to the server, to the client
}

func newTap(t *testing.T, to netip.AddrPort) *tap {
	l := listen(t)
	p := &tap{addr: addrPort(l.Addr())}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to.String())
			if err != nil {
				c.Close()
				return
			}
			go p.relay(s, c, &p.updates[0])
			go p.relay(c, s, &p.updates[1])
		}
	}()
	return p
}

func (p *tap) relay(to, from net.Conn, updates *atomic.Int64) {
	defer to.Close()
	for r := bufio.NewReaderSize(from, 1<<16); ; {
		head, err := r.Peek(record.HeaderLen)
		if err != nil {
			return
		}
		n := record.HeaderLen + int(head[3])<<8 + int(head[4])
		if n == 5+record.Overhead {
			updates.Add(1)
		}
		if _, err := io.CopyN(to, r, int64(n)); err != nil {
			return
		}
	}
}

// Keys are renewed every 50 records in both directions under bulk, by us and by crypto/tls, which we ask.
func TestKeysAreRenewedUnderBulk(t *testing.T) {
	if underTest == "stdlib" {
		t.Skip("crypto/tls renews no keys by itself")
	}
	for _, c := range []struct{ name, client, server string }{
		{"records both", "records", "records"}, {"crypto/tls serves", "records", "stdlib"}, {"crypto/tls asks", "stdlib", "records"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := newAuthority(t)
			l := listen(t)
			const size = 8 << 20
			limits := Limits{RekeyAfter: 50}
			server := newWorld(t, setup{ca: ca, driver: c.server, handler: toApp(l.Addr().String()), server: limits})
			client := newWorld(t, setup{ca: ca, driver: c.client, client: limits})
			tap := newTap(t, server.addr)
			client.key.Dest = tap.addr
			s := client.splice(l, SpliceOptions{})
			payload := make([]byte, size)
			r := rand.NewChaCha8([32]byte{1})
			_, _ = r.Read(payload) // never fails
			over := make(chan error, 4)
			for _, app := range []*net.TCPConn{s.client, s.server} {
				go func() {
					_, err := app.Write(payload)
					over <- errors.Join(err, app.CloseWrite())
				}()
				go func() {
					got, err := io.ReadAll(app)
					if err == nil && !bytes.Equal(got, payload) {
						err = errors.New("payload changed")
					}
					over <- err
				}()
			}
			for range 4 {
				must(t, <-over)
			}
			must(t, <-s.result)
			for i, to := range []string{"server", "client"} {
				// 512 records carry the payload; each side renews its own key, or is asked to.
				if n := tap.updates[i].Load(); n < 5 {
					t.Errorf("%d KeyUpdates to the %s", n, to)
				}
			}
		})
	}
}

// rawClient is a client that shakes hands as a workload does, and says what it likes.
func (w *world) rawClient() (net.Conn, *record.Session) {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr.String())
	must(w.t, err)
	w.t.Cleanup(func() { nc.Close() })
	must(w.t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	s, err := record.Client(context.Background(), nc, w.ca.clientTLS(w.ca.leaf(w.t, clientID, time.Now().Add(time.Hour))))
	must(w.t, err)
	return nc, s
}

// heard reads what the tunnel says until it ends.
func heard(nc net.Conn, s *record.Session) (payload []byte, err error) {
	in, more := s.Surplus, make([]byte, 1<<16)
	for {
		p, n, err := s.In.Open(in)
		payload = append(payload, p...)
		if err != nil {
			return payload, err
		}
		if in = in[n:]; n > 0 {
			continue
		}
		if n, err = nc.Read(more); n == 0 {
			return payload, errors.Join(err, s.In.Truncated())
		}
		in = append(in, more[:n]...)
	}
}

func sealed(t *testing.T, s *record.Session, payload string) []byte {
	t.Helper()
	rec := append(make([]byte, record.HeaderLen), payload...)
	rec = append(rec, make([]byte, record.Overhead-record.HeaderLen)...)
	n, err := s.Out.Seal(rec, len(payload))
	must(t, err)
	return rec[:n]
}

const prefaceAndSettings = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// A peer that breaks TLS is told by the right alert, however much it has sent behind its fault.
func TestTLSFaultsAreAnswered(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(s *record.Session) []byte
		want tls.AlertError
	}{
		{"forged", func(s *record.Session) []byte { b := sealed(t, s, "payload"); b[10] ^= 1; return b }, 20},
		{"clear text", func(*record.Session) []byte { return []byte{21, 3, 3, 0, 2, 2, 40} }, 10},
		{"skipped", func(s *record.Session) []byte { sealed(t, s, "lost"); return sealed(t, s, "payload") }, 20},
		{"too long", func(*record.Session) []byte { return []byte{23, 3, 3, 0x41, 1} }, 22},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := make(chan error, 1)
			w := newWorld(t, setup{serverEvents: &Events{ConnClosed: func(_ ConnInfo, err error) { closed <- err }}})
			nc, s := w.rawClient()
			b := append(sealed(t, s, prefaceAndSettings), c.make(s)...)
			b = append(b, make([]byte, 2<<20)...) // and rubbish
			go func() { _, _ = nc.Write(b) }()    // cut short by the server
			_, err := heard(nc, s)
			if underTest == "stdlib" && c.name == "clear text" {
				c.want = 20 // crypto/tls looks at the type after the tag
			}
			if !errors.Is(err, c.want) {
				t.Errorf("we are told %v, not %v", err, c.want)
			}
			if err := <-closed; err == nil {
				t.Error("the server calls it an orderly end")
			}
		})
	}
}

// Streams on a connection that is cut without close_notify are reset, never ended.
func TestTruncationResetsStreams(t *testing.T) {
	ended := make(chan error, 1)
	w := newWorld(t, setup{handler: func(_ context.Context, r *Request) {
		s, err := r.Accept(nil)
		if err == nil {
			_, err = io.Copy(io.Discard, s)
		}
		ended <- err
	}})
	nc, s := w.rawClient()
	headers := "\x02\x07CONNECT\x01\x0b10.0.0.1:80" // :method CONNECT, :authority
	frame := string([]byte{0, 0, byte(len(headers)), 1, 4, 0, 0, 0, 1}) + headers
	data := "\x00\x00\x05\x00\x00\x00\x00\x00\x01hello"
	b := append(sealed(t, s, prefaceAndSettings+frame), sealed(t, s, data)...)
	_, err := nc.Write(b)
	must(t, err)
	must(t, nc.(*net.TCPConn).CloseWrite()) // no close_notify, no END_STREAM
	if err := <-ended; !errors.Is(err, ErrReset) {
		t.Errorf("the stream ends by %v", err)
	}
}

// An orderly goodbye is answered by one.
func TestCloseNotifyIsSaidAndHeard(t *testing.T) {
	closed := make(chan error, 1)
	w := newWorld(t, setup{serverEvents: &Events{ConnClosed: func(_ ConnInfo, err error) { closed <- err }}})
	nc, s := w.rawClient()
	_, err := nc.Write(s.Out.AppendEnd(sealed(t, s, prefaceAndSettings), nil))
	must(t, err)
	if _, err := heard(nc, s); err != io.EOF {
		t.Errorf("the tunnel ends by %v, not close_notify", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("the server: %v", err)
	}
}

// A flood of KeyUpdates ends the connection.
func TestKeyUpdateFloodEndsTheConnection(t *testing.T) {
	w := newWorld(t, setup{})
	nc, s := w.rawClient()
	b := sealed(t, s, prefaceAndSettings)
	for range 20 {
		var err error
		var st *record.State
		st, b, err = s.Export(b) // makes a KeyUpdate
		must(t, err)
		s, err = record.Import(st)
		must(t, err)
	}
	_, err := nc.Write(b)
	must(t, err)
	if _, err := heard(nc, s); !errors.Is(err, tls.AlertError(10)) {
		t.Errorf("after 20 KeyUpdates: %v", err)
	}
}
