package record

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// Keys change every 100 records in both directions, on our own and because we ask, under data.
func TestKeyUpdatesUnderBulkWithStdlib(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		ours, theirs := withStdlib(t, client)
		ours.s.RekeyAfter(100)
		over := make(chan error, 1)
		go func() {
			_, err := io.Copy(theirs, theirs)
			over <- errors.Join(err, theirs.Close())
		}()
		out, in := ours.s.Out.secret, ours.s.In.secret
		out, in = bytes.Clone(out), bytes.Clone(in)
		echo(t, ours, 400)
		if bytes.Equal(out, ours.s.Out.secret) || bytes.Equal(in, ours.s.In.secret) {
			t.Error("a key was never renewed: crypto/tls does so only when asked")
		}
		if ours.s.Out.seq > 164 || ours.s.In.seq > 300 {
			t.Errorf("keys have %d and %d records behind them", ours.s.Out.seq, ours.s.In.seq)
		}
		must(t, ours.end(nil))
		must(t, <-over)
	})
}

// Both sides renew, ask and answer at once; requests cross.
func TestKeyUpdatesCross(t *testing.T) {
	client, server := withOurselves(t)
	client.s.RekeyAfter(7)
	server.s.RekeyAfter(11)
	const size = 4 << 20
	payload := make([]byte, size)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	send := func(c *talker) error {
		for rest := payload; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(3*MaxPayload))
			if _, err := c.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	}
	over := make(chan error, 3)
	go func() { over <- send(client) }()
	go func() {
		got := make([]byte, size)
		_, err := io.ReadFull(server, got)
		if err == nil && !bytes.Equal(got, payload) {
			err = errors.New("payload changed")
		}
		over <- err
		_, err = server.Write(got)
		over <- err
	}()
	got := make([]byte, size)
	_, err := io.ReadFull(client, got)
	must(t, err)
	if !bytes.Equal(got, payload) {
		t.Fatal("payload changed on its way back")
	}
	for range 3 {
		must(t, <-over)
	}
}

// joined are the two ends of sessions without a socket.
func joined(t testing.TB) (client, server *Session) {
	t.Helper()
	return joinedBy(t, suites[0].id)
}

func joinedBy(t testing.TB, id uint16) (client, server *Session) {
	t.Helper()
	s, err := suiteOf(id)
	must(t, err)
	c2s := bytes.Repeat(newSeed(), 3)[:s.size]
	s2c := bytes.Repeat(newSeed(), 3)[:s.size]
	client, err = resume(id, true, bytes.Clone(c2s), bytes.Clone(s2c))
	must(t, err)
	server, err = resume(id, false, s2c, c2s)
	must(t, err)
	return client, server
}

// pass seals a message at one end and opens it at the other.
func pass(t testing.TB, from, to *Session, msg string) {
	t.Helper()
	must(t, receive(to, from.Out.AppendDue(nil)))
	rec := make([]byte, len(msg)+Overhead)
	copy(rec[HeaderLen:], msg)
	n, err := from.Out.Seal(rec, len(msg))
	must(t, err)
	p, m, err := to.In.Open(rec[:n])
	if err != nil || m != n || string(p) != msg {
		t.Fatalf("sealed %q, opened %q, %d of %d bytes, %v", msg, p, m, n, err)
	}
}

// receive opens records that should bring no payload.
func receive(s *Session, b []byte) error {
	for len(b) > 0 {
		p, n, err := s.In.Open(b)
		if err != nil {
			return err
		}
		if n == 0 || len(p) > 0 {
			return errors.New("part of a record, or payload")
		}
		b = b[n:]
	}
	return nil
}

// control is a record of any type from a peer.
func control(s *Session, typ byte, msg ...byte) []byte { return s.Out.appendControl(nil, typ, msg...) }

func TestOneAnswerForManyRequests(t *testing.T) {
	client, server := joined(t)
	for _, asks := range []byte{1, 1, 0} {
		must(t, receive(server, control(client, typeHandshake, msgKeyUpdate, 0, 0, 1, asks)))
		must(t, client.Out.update())
	}
	answer := server.Out.AppendDue(nil)
	if len(answer) != 5+Overhead || server.Out.Due() {
		t.Errorf("%d bytes of answer", len(answer))
	}
	must(t, receive(client, answer))
	if client.Out.Due() {
		t.Error("an answer asks for one")
	}
	pass(t, server, client, "there")
	pass(t, client, server, "and back")
}

// The peer does not renew its key by itself: it is asked once.
func TestPeerIsAskedToRenew(t *testing.T) {
	client, server := joined(t)
	server.RekeyAfter(3)
	for range 3 {
		pass(t, client, server, "x")
	}
	if !server.Out.Due() {
		t.Fatal("the peer is not asked")
	}
	must(t, receive(client, server.Out.AppendDue(nil)))
	for range 3 {
		if server.Out.Due() {
			t.Fatal("the peer is asked again")
		}
		rec := make([]byte, 1+Overhead)
		n, err := client.Out.Seal(rec, 1) // a batch that was under way
		must(t, err)
		_, _, err = server.In.Open(rec[:n])
		must(t, err)
	}
	pass(t, client, server, "with the new key")
	if server.In.seq != 1 || server.In.asked || client.Out.seq != 1 {
		t.Errorf("after the renewal: %d records, asked %v", server.In.seq, server.In.asked)
	}
	for range 2 {
		pass(t, client, server, "x")
	}
	if !server.Out.Due() {
		t.Error("the peer is not asked for the generation after")
	}
}

func TestKeysHaveAnEnd(t *testing.T) {
	client, server := joined(t)
	rec := make([]byte, 1+Overhead)
	client.Out.seq, server.In.seq = rekeyAfter-1, rekeyAfter-1
	pass(t, client, server, "the last under this key")
	if !client.Out.Due() {
		t.Error("nothing is due after 2^23 records")
	}
	client.Out.seq = sealLimit
	if _, err := client.Out.Seal(rec, 1); !errors.Is(err, ErrKeySpent) {
		t.Errorf("sealed with a spent key: %v", err)
	}
	if sealLimit-rekeyAfter < 1<<20 {
		t.Error("the manual promises a batch of 1<<20 records")
	}
	server.In.seq = sealLimit
	must(t, receive(server, client.Out.AppendDue(nil)))
	pass(t, client, server, "with the next key")

	client.Out.seq, server.In.seq = openLimit, openLimit
	client.Out.rekeyAfter = openLimit + 2
	if _, _, err := server.In.Open(control(client, typeData, 'x')); !errors.Is(err, internalError) {
		t.Errorf("opened with a spent key: %v", err)
	}
}
