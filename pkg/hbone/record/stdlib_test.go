package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// sizes of messages: around every edge, and any.
func someSizes(r *rand.Rand, n int) []int {
	s := []int{1, 2, MaxPayload - 1, MaxPayload, MaxPayload + 1, 64*MaxPayload + 3}
	for len(s) < n {
		s = append(s, 1+r.IntN(2*MaxPayload), 1+r.IntN(64))
	}
	return s
}

// echo sends messages over a and expects each back.
func echo(t *testing.T, a io.ReadWriter, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for at, size := range someSizes(r, n) {
		msg := make([]byte, size)
		for i := range msg {
			msg[i] = byte(r.Uint32())
		}
		sent := make(chan error, 1)
		go func() {
			_, err := a.Write(msg)
			sent <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(a, got); err != nil {
			t.Fatalf("message %d of %d bytes: %v", at, size, err)
		}
		must(t, <-sent)
		if !bytes.Equal(got, msg) {
			t.Fatalf("message %d of %d bytes came back changed", at, size)
		}
	}
}

func TestStdlibEchoes(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		ours, theirs := withStdlib(t, client)
		over := make(chan error, 1)
		go func() {
			_, err := io.Copy(theirs, theirs)
			over <- errors.Join(err, theirs.Close())
		}()
		echo(t, ours, 60)
		must(t, ours.end(nil))
		must(t, <-over) // io.Copy ends without an error at close_notify only
		if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after crypto/tls closed: %d %v", n, err)
		}
	})
}

func TestStateIsTheHandshakes(t *testing.T) {
	ours, theirs := withStdlib(t, true)
	s := ours.s.State
	if !s.HandshakeComplete || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "h2" || len(s.PeerCertificates) != 1 || s.DidResume {
		t.Errorf("state %+v", s)
	}
	if len(theirs.ConnectionState().PeerCertificates) != 1 {
		t.Error("the server did not see our certificate")
	}
}

// What the stdlib says under our keys, such as a fatal alert, ends the session and names it.
func TestStdlibsAlertIsTold(t *testing.T) {
	ours, theirs := withStdlib(t, true)
	_, err := ours.Conn.Write([]byte{23, 3, 3, 0, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	must(t, err)
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Fatal("crypto/tls took rubbish")
	}
	_, err = ours.Read(make([]byte, 1))
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || !errors.Is(err, badRecordMAC) {
		t.Errorf("our side: %v", err)
	}
}

// And the other way round.
func TestOurAlertIsTold(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		ours, theirs := withStdlib(t, client)
		rubbish := append([]byte{23, 3, 3, 0, 17}, make([]byte, 17)...)
		_, _, err := ours.s.In.Open(rubbish)
		if !errors.Is(err, badRecordMAC) {
			t.Fatal(err)
		}
		must(t, ours.end(err))
		_, err = theirs.Read(make([]byte, 1))
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != badRecordMAC.Error() {
			t.Errorf("crypto/tls: %v", err)
		}
	})
}
