package record

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// A stream that is cut at any byte before the end of its close_notify is an error, and gives no payload of
// the record that is cut.
func TestCutAtEveryByte(t *testing.T) {
	const records = 6
	run := func(t *testing.T, cut int) (length int) {
		client, server := joined(t)
		server.RekeyAfter(2)
		var stream []byte
		var ends []int
		for i := range records {
			stream = server.Out.AppendDue(stream)
			stream = append(stream, control(server, typeData, []byte(fmt.Sprint("record ", i))...)...)
			ends = append(ends, len(stream))
		}
		stream = server.Out.AppendEnd(stream, nil)
		if cut < 0 || cut > len(stream) {
			cut = len(stream)
		}
		got, want := 0, 0
		for _, e := range ends {
			if e <= cut {
				want++
			}
		}
		b := stream[:cut]
		for {
			p, n, err := client.In.Open(b)
			if len(p) > 0 {
				if string(p) != fmt.Sprint("record ", got) {
					t.Fatalf("cut at %d: payload %q", cut, p)
				}
				got++
			}
			if err == io.EOF && cut < len(stream) || err != nil && err != io.EOF {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if n == 0 {
				break
			}
			b = b[n:]
		}
		if end := client.In.Truncated(); (end == nil) != (cut == len(stream)) || end != nil && !errors.Is(end, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", cut, len(stream), end)
		}
		if got != want {
			t.Fatalf("cut at %d: %d records, want %d", cut, got, want)
		}
		return len(stream)
	}
	for cut := range run(t, -1) {
		run(t, cut)
	}
}

// limited lets so many bytes in, and then the peer is gone; each Read gives at most step bytes.
type limited struct {
	net.Conn
	left, step int
	read       int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left, l.step)])
	l.left -= n
	l.read += n
	return n, err
}

// A handshake that is cut at any byte fails, and one that comes byte by byte does not.
func TestHandshakeInPieces(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		run := func(left, step int) (int, *Session, error) {
			a, b := pipe(t)
			defer a.Close()
			defer b.Close()
			peer := make(chan error, 1)
			go func() {
				_, err := shake(t.Context(), b, config(), !client)
				peer <- err
			}()
			l := &limited{Conn: a, left: left, step: step}
			s, err := shake(t.Context(), l, config(), client)
			a.Close()
			<-peer
			return l.read, s, err
		}
		whole, s, err := run(1<<20, 1)
		must(t, err)
		if len(s.Surplus) > 0 {
			t.Errorf("%d bytes read beyond the handshake, one by one", len(s.Surplus))
		}
		start, cuts := time.Now(), 0
		// Keys and signatures differ in length by a few bytes from run to run. Every cut is a handshake: as many
		// as a few seconds allow, spread evenly.
		for cut := 0; cut < whole-16; cut += 1 + int(time.Since(start)/(300*time.Millisecond)) {
			if _, _, err := run(cut, 1<<20); err == nil {
				t.Fatalf("handshake cut at %d of %d bytes succeeded", cut, whole)
			}
			cuts++
		}
		t.Logf("%d bytes, %d cuts", whole, cuts)
	})
}
