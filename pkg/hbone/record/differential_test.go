package record

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// script is a connection that carries a handshake, and from then on what a test wrote down.
type script struct {
	net.Conn
	in  *bytes.Buffer // nil: the handshake
	out bytes.Buffer
}

// pause says that there is no more input for now; crypto/tls can go on after it.
type pause struct{}

func (pause) Error() string   { return "no more input" }
func (pause) Timeout() bool   { return true }
func (pause) Temporary() bool { return true }

func (s *script) Read(p []byte) (int, error) {
	if s.in == nil {
		return s.Conn.Read(p)
	}
	if s.in.Len() == 0 {
		return 0, pause{}
	}
	return s.in.Read(p)
}

func (s *script) Write(p []byte) (int, error) {
	if s.in == nil {
		return s.Conn.Write(p)
	}
	return s.out.Write(p)
}

// rival is crypto/tls behind a handshake, beside a session of ours with the same keys and role.
type rival struct {
	wire   *script
	stdlib *tls.Conn
	ours   *Session
	peer   *Session // of both
}

func newRival(t testing.TB, client bool) *rival {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cfg := config()
	cfg.ClientAuth, cfg.InsecureSkipVerify = tls.NoClientCert, true // quicker
	r := &rival{wire: &script{Conn: b}}
	if client {
		r.stdlib = tls.Client(r.wire, cfg)
	} else {
		r.stdlib = tls.Server(r.wire, cfg)
	}
	over := make(chan error, 1)
	go func() { over <- r.stdlib.Handshake() }()
	var err error
	r.peer, err = shake(context.Background(), a, cfg, !client)
	must(t, err)
	must(t, <-over)
	r.wire.in = new(bytes.Buffer)
	r.ours, err = resume(r.peer.State.CipherSuite, client, bytes.Clone(r.peer.In.secret), bytes.Clone(r.peer.Out.secret))
	must(t, err)
	return r
}

// outcome of a stream of records.
type outcome int

const (
	alive   outcome = iota // there may be more
	closed                 // close_notify
	told                   // a fatal alert
	refused                // by the receiver
)

func (o outcome) String() string { return [...]string{"alive", "closed", "told", "refused"}[o] }

func (r *rival) oursReads(b []byte) (payload []byte, o outcome, _ error) {
	b = bytes.Clone(b)
	for {
		p, n, err := r.ours.In.Open(b)
		payload = append(payload, p...)
		switch {
		case err == io.EOF:
			return payload, closed, nil
		case err != nil && isRemote(err):
			return payload, told, err
		case err != nil:
			return payload, refused, err
		case n == 0:
			return payload, alive, nil
		}
		b = b[n:]
	}
}

func (r *rival) stdlibReads(b []byte) (payload []byte, o outcome, _ error) {
	r.wire.in.Write(b)
	payload, err := io.ReadAll(r.stdlib)
	switch {
	case err == nil:
		return payload, closed, nil
	case errors.As(err, new(pause)):
		return payload, alive, nil
	case isRemote(err):
		return payload, told, err
	}
	return payload, refused, err
}

// FuzzAgainstStdlib plays streams of records, good and bad, to crypto/tls and to us: the same payload comes
// out, and both go on, end or refuse. See writer for where we are known to differ.
func FuzzAgainstStdlib(f *testing.F) {
	for _, s := range seeds {
		f.Add(true, []byte(s))
		f.Add(false, []byte(s))
	}
	f.Fuzz(func(t *testing.T, client bool, program []byte) {
		if len(program) > 400 {
			return
		}
		r := newRival(t, client)
		w := &writer{peer: r.peer, program: program}
		stream := w.run()
		ours, we, ourErr := r.oursReads(stream)
		if we == refused {
			// We refuse a header for what it says; crypto/tls waits for the rest of its record first.
			stream = append(stream, make([]byte, 2*MaxRecord)...)
		}
		theirs, they, theirErr := r.stdlibReads(stream)
		if w.stricter || w.looser {
			if w.stricter && !w.looser && !bytes.HasPrefix(theirs, ours) || w.looser && !w.stricter && !bytes.HasPrefix(ours, theirs) {
				t.Fatalf("ours %q %v (%v), theirs %q %v (%v)", ours, we, ourErr, theirs, they, theirErr)
			}
			return
		}
		if we != they || !bytes.Equal(ours, theirs) {
			t.Fatalf("ours %q %v (%v), theirs %q %v (%v)", ours, we, ourErr, theirs, they, theirErr)
		}
		if we == alive {
			r.bothAnswer(t)
		}
	})
}

// bothAnswer sees that crypto/tls and ours, with whatever KeyUpdates they owe, are still understood.
func (r *rival) bothAnswer(t *testing.T) {
	t.Helper()
	twin, err := resume(r.ours.In.suite.id, !r.ours.In.client, bytes.Repeat([]byte{1}, r.ours.In.suite.size), bytes.Clone(r.peer.In.secret))
	must(t, err)
	_, err = r.stdlib.Write([]byte("pong"))
	must(t, err)
	wantPong(t, r.peer, r.wire.out.Bytes())
	out := r.ours.Out.AppendDue(nil)
	wantPong(t, twin, append(out, control(r.ours, typeData, []byte("pong")...)...))
}

func wantPong(t *testing.T, s *Session, b []byte) {
	t.Helper()
	var got []byte
	for len(b) > 0 {
		p, n, err := s.In.Open(b)
		if err != nil || n == 0 {
			t.Fatalf("answer: %d %v", n, err)
		}
		got, b = append(got, p...), b[n:]
	}
	if string(got) != "pong" {
		t.Fatalf("answer %q", got)
	}
}

// FuzzStdlibSeals has crypto/tls write, with KeyUpdates that we ask for in between: all of it opens.
func FuzzStdlibSeals(f *testing.F) {
	f.Add(true, []byte{1, 1, 2, 200, 0, 3, 255, 0, 1})
	f.Add(false, []byte{0, 0, 9, 255, 255, 255, 0, 7})
	f.Fuzz(func(t *testing.T, client bool, sizes []byte) {
		if len(sizes) > 100 {
			return
		}
		r := newRival(t, client)
		var want, got []byte
		for i, s := range sizes {
			if s == 0 {
				r.peer.Out.ask = true
				_, state, err := r.stdlibReads(r.peer.Out.AppendDue(nil))
				if i >= maxUseless {
					return // crypto/tls may have enough
				}
				if state != alive {
					t.Fatal(state, err)
				}
				continue
			}
			msg := bytes.Repeat([]byte{s}, int(s)*int(s)) // up to four records
			want = append(want, msg...)
			_, err := r.stdlib.Write(msg)
			must(t, err)
		}
		must(t, r.stdlib.CloseWrite())
		b := bytes.Clone(r.wire.out.Bytes())
		for {
			p, n, err := r.peer.In.Open(b)
			if err == io.EOF {
				break
			}
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			got, b = append(got, p...), b[n:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, not %d, or others", len(got), len(want))
		}
	})
}
