package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

// padded is a record of any type with zeros behind it, of any length.
func padded(o *Out, typ byte, msg []byte, zeros int) []byte {
	n := len(msg) + 1 + zeros
	rec := make([]byte, HeaderLen+n+tagLen)
	copy(rec[HeaderLen:], msg)
	rec[HeaderLen+len(msg)] = typ
	rec[0], rec[1], rec[2], rec[3], rec[4] = typeData, 3, 3, byte((n+tagLen)>>8), byte(n+tagLen)
	o.aead.Seal(rec[HeaderLen:HeaderLen], o.take(), rec[HeaderLen:HeaderLen+n], rec[:HeaderLen])
	return rec
}

func changed(b []byte, at int, to byte) []byte {
	b[at] = to
	return b
}

// bad is what no peer may send behind its handshake, and the alert that it gets.
var bad = []struct {
	name  string
	make  func(peer *Session) []byte
	alert tls.AlertError
}{
	{"alert in clear text", func(*Session) []byte { return []byte{typeAlert, 3, 3, 0, 2, 2, 40} }, unexpectedMessage},
	{"handshake in clear text", func(*Session) []byte { return []byte{typeHandshake, 3, 3, 0, 5, 24, 0, 0, 1, 0} }, unexpectedMessage},
	{"change_cipher_spec", func(*Session) []byte { return []byte{20, 3, 3, 0, 1, 1} }, unexpectedMessage},
	{"data in clear text", func(*Session) []byte { return append([]byte{typeData, 3, 3, 0, 32}, make([]byte, 32)...) }, badRecordMAC},
	{"not TLS", func(*Session) []byte { return []byte("PRI * HTTP/2.0") }, unexpectedMessage},
	{"version of TLS 1.0", func(p *Session) []byte { return changed(control(p, typeData, 'x'), 2, 1) }, protocolVersion},
	{"header says longer than allowed", func(*Session) []byte { return []byte{typeData, 3, 3, 0x41, 1} }, recordOverflow},
	{"header says 64 KiB", func(*Session) []byte { return []byte{typeData, 3, 3, 255, 255} }, recordOverflow},
	{"empty", func(*Session) []byte { return []byte{typeData, 3, 3, 0, 0} }, badRecordMAC},
	{"a tag alone", func(p *Session) []byte {
		rec := []byte{typeData, 3, 3, 0, tagLen}
		return p.Out.aead.Seal(rec, p.Out.take(), nil, rec)
	}, badRecordMAC},
	{"type inside is zero", func(p *Session) []byte { return padded(p.Out, 0, nil, 0) }, unexpectedMessage},
	{"padding only", func(p *Session) []byte { return padded(p.Out, 0, nil, 300) }, unexpectedMessage},
	{"content longer than allowed", func(p *Session) []byte { return padded(p.Out, typeData, make([]byte, MaxPayload+1), 0) }, recordOverflow},
	{"padding longer than allowed", func(p *Session) []byte { return padded(p.Out, typeData, make([]byte, MaxPayload), 1) }, recordOverflow},
	{"padding much longer", func(p *Session) []byte { return padded(p.Out, typeData, nil, MaxPayload+239) }, recordOverflow},
	{"change_cipher_spec inside", func(p *Session) []byte { return control(p, 20, 1) }, unexpectedMessage},
	{"heartbeat", func(p *Session) []byte { return control(p, 24, 1, 0, 1) }, unexpectedMessage},
	{"unknown type", func(p *Session) []byte { return control(p, 255, 1) }, unexpectedMessage},
	{"changed payload", func(p *Session) []byte { return changed(control(p, typeData, 'x', 'y'), HeaderLen, 0) }, badRecordMAC},
	{"skipped record", func(p *Session) []byte { control(p, typeData, 'x'); return control(p, typeData, 'x') }, badRecordMAC},
	{"repeated record", func(p *Session) []byte { r := control(p, typeData, 'x'); return append(r, r...) }, badRecordMAC},

	{"empty alert", func(p *Session) []byte { return control(p, typeAlert) }, decodeError},
	{"half an alert", func(p *Session) []byte { return control(p, typeAlert, 2) }, decodeError},
	{"two alerts in one", func(p *Session) []byte { return control(p, typeAlert, 1, 90, 1, 0) }, decodeError},

	{"empty handshake", func(p *Session) []byte { return control(p, typeHandshake) }, unexpectedMessage},
	{"certificate request", func(p *Session) []byte { return control(p, typeHandshake, 13, 0, 0, 3, 0, 0, 0) }, unexpectedMessage},
	{"client hello", func(p *Session) []byte { return control(p, typeHandshake, 1, 0, 0, 0) }, unexpectedMessage},
	{"hello request", func(p *Session) []byte { return control(p, typeHandshake, 0, 0, 0, 0) }, unexpectedMessage},
	{"finished", func(p *Session) []byte { return control(p, typeHandshake, 20, 0, 0, 0) }, unexpectedMessage},
	{"end of early data", func(p *Session) []byte { return control(p, typeHandshake, 5, 0, 0, 0) }, unexpectedMessage},

	{"KeyUpdate, first half", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0) }, unexpectedMessage},
	{"KeyUpdate without content", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0, 0) }, unexpectedMessage},
	{"KeyUpdate with a byte too much", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0, 2, 0, 0) }, unexpectedMessage},
	{"KeyUpdate of great length", func(p *Session) []byte { return control(p, typeHandshake, 24, 255, 255, 255, 0) }, unexpectedMessage},
	{"two KeyUpdates in one record", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0) }, unexpectedMessage},
	{"KeyUpdate of unknown kind", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0, 1, 2) }, illegalParameter},
	{"KeyUpdate of kind 255", func(p *Session) []byte { return control(p, typeHandshake, 24, 0, 0, 1, 255) }, illegalParameter},
	{"KeyUpdate, but the old key goes on", func(p *Session) []byte {
		return append(control(p, typeHandshake, 24, 0, 0, 1, 0), control(p, typeData, 'x')...)
	}, badRecordMAC},
	{"the next key without KeyUpdate", func(p *Session) []byte { _ = p.Out.update(); return control(p, typeData, 'x') }, badRecordMAC},
}

func TestBadRecords(t *testing.T) {
	for _, c := range bad {
		for _, client := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, " to the ", roleName(client)), func(t *testing.T) {
				ours, peer := joined(t)
				if !client {
					ours, peer = peer, ours
				}
				wantEnd(t, ours, peer, c.make(peer), c.alert)
			})
		}
	}
}

// A record of ours, sent back to us, is not the peer's.
func TestReflectedRecords(t *testing.T) {
	client, _ := joined(t)
	if _, _, err := client.In.Open(control(client, typeData, 'x')); !errors.Is(err, badRecordMAC) {
		t.Error(err)
	}
}

// wantEnd demands that b end ours by an alert that the peer understands, whatever is accepted before.
func wantEnd(t *testing.T, ours, peer *Session, b []byte, want tls.AlertError) {
	t.Helper()
	var err error
	for err == nil {
		var n int
		_, n, err = ours.In.Open(b)
		if err == nil && n == 0 {
			t.Fatalf("accepted, %d bytes are left", len(b))
		}
		b = b[n:]
	}
	var e *Error
	if !errors.As(err, &e) || e.Alert != want {
		t.Fatalf("got %v, want %v", err, want)
	}
	if _, _, again := ours.In.Open(control(peer, typeData, 'x')); !errors.Is(again, err) {
		t.Errorf("later: %v", again)
	}
	if ours.In.aead != nil || ours.In.secret != nil {
		t.Error("the dead session keeps its key")
	}
	if tr := ours.In.Truncated(); !errors.Is(tr, io.ErrUnexpectedEOF) {
		t.Errorf("end of the socket: %v", tr)
	}
	_, _, told := peer.In.Open(ours.Out.AppendEnd(nil, err))
	if !isRemote(told) || !errors.Is(told, want) {
		t.Errorf("the peer is told: %v", told)
	}
	if _, err := ours.Out.Seal(make([]byte, 1+Overhead), 1); !errors.Is(err, ErrClosed) || ours.Out.aead != nil || ours.Out.secret != nil {
		t.Errorf("seal after an alert: %v", err)
	}
}

func TestTicketsArriveInAnyForm(t *testing.T) {
	client, server := joined(t)
	one := append([]byte{msgNewSessionTicket, 0, 0, 20}, make([]byte, 20)...)
	big := append([]byte{msgNewSessionTicket, 1, 0, 0}, make([]byte, 1<<16)...)
	must(t, receive(client, control(server, typeHandshake, one...)))
	must(t, receive(client, control(server, typeHandshake, bytes.Repeat(one, 4)...)))
	for rest := append(big, one...); len(rest) > 0; {
		n := min(len(rest), MaxPayload)
		must(t, receive(client, control(server, typeHandshake, rest[:n]...)))
		rest = rest[n:]
	}
	pass(t, server, client, "and then data")
}

func TestTicketsRefused(t *testing.T) {
	begun := func(p *Session) []byte { return control(p, typeHandshake, msgNewSessionTicket, 0, 0, 20, 1, 2) }
	for _, c := range []struct {
		name  string
		make  func(peer *Session) []byte
		alert tls.AlertError
	}{
		{"data within", func(p *Session) []byte { return append(begun(p), control(p, typeData, 'x')...) }, unexpectedMessage},
		{"alert within", func(p *Session) []byte { return append(begun(p), control(p, typeAlert, 1, 0)...) }, unexpectedMessage},
		{"KeyUpdate behind, in its record", func(p *Session) []byte {
			return control(p, typeHandshake, msgNewSessionTicket, 0, 0, 1, 0, msgKeyUpdate, 0, 0, 1, 0)
		}, unexpectedMessage},
		{"cut within its header", func(p *Session) []byte { return control(p, typeHandshake, msgNewSessionTicket, 0, 0) }, decodeError},
		{"too long", func(p *Session) []byte { return control(p, typeHandshake, msgNewSessionTicket, 255, 255, 255) }, decodeError},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := joined(t)
			wantEnd(t, client, server, c.make(server), c.alert)
		})
	}
	t.Run("from a client", func(t *testing.T) {
		client, server := joined(t)
		wantEnd(t, server, client, control(client, typeHandshake, msgNewSessionTicket, 0, 0, 1, 0), unexpectedMessage)
	})
}

// What is odd, but right.
func TestGoodRecords(t *testing.T) {
	client, server := joined(t)
	for _, c := range []struct{ payload, zeros int }{{1, 0}, {1, 300}, {0, 300}, {MaxPayload, 0}, {MaxPayload - 1, 1}, {1, MaxPayload - 1}} {
		rec := padded(client.Out, typeData, bytes.Repeat([]byte("x"), c.payload), c.zeros)
		for cut := range min(len(rec), 64) {
			if p, n, err := server.In.Open(rec[:cut]); n != 0 || p != nil || err != nil {
				t.Fatalf("%d bytes of a record: %q %d %v", cut, p, n, err)
			}
		}
		p, n, err := server.In.Open(append(rec, "more"...))
		if err != nil || n != len(rec) || len(p) != c.payload {
			t.Errorf("%+v: %d bytes of payload, %d of record, %v", c, len(p), n, err)
		}
	}
	pass(t, client, server, "payload that ends in zeros\x00\x00")
}

func TestSlotsThatCannotBe(t *testing.T) {
	client, server := joined(t)
	for _, c := range []struct{ room, n int }{{Overhead, 0}, {100, -1}, {Overhead, 1}, {4, 1}, {0, 0}, {MaxPayload + 100, MaxPayload + 1}, {MaxPayload + Overhead - 1, MaxPayload}} {
		if _, err := client.Out.Seal(make([]byte, c.room), c.n); !errors.Is(err, ErrSlot) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	pass(t, client, server, "no number was lost")
}

func TestAlertsOfThePeer(t *testing.T) {
	client, server := joined(t)
	must(t, receive(client, control(server, typeAlert, 1, byte(userCanceled))))
	for _, level := range []byte{1, 2, 99} { // has no meaning
		client, server := joined(t)
		_, _, err := client.In.Open(control(server, typeAlert, level, 40))
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != "tls: handshake failure" {
			t.Errorf("level %d: %v", level, err)
		}
		if b := client.Out.AppendEnd(nil, err); len(b) > 0 {
			t.Errorf("a fatal alert is answered by %d bytes", len(b))
		}
	}
	_, _, err := client.In.Open(append(control(server, typeAlert, 1, 0), "whatever follows"...))
	if err != io.EOF {
		t.Errorf("close_notify: %v", err)
	}
	must(t, client.In.Truncated())
	if _, _, err := client.In.Open(control(server, typeData, 'x')); err != io.EOF {
		t.Errorf("data behind close_notify: %v", err)
	}
	must(t, wantOrderly(server, client.Out.AppendEnd(nil, nil)))
}

// wantOrderly wants an orderly end.
func wantOrderly(s *Session, b []byte) error {
	if _, _, err := s.In.Open(b); err != io.EOF {
		return fmt.Errorf("no orderly end: %w", err)
	}
	return nil
}

// Half a connection may go on after the other's end.
func TestDataAfterThePeersEnd(t *testing.T) {
	client, server := joined(t)
	must(t, wantOrderly(client, server.Out.AppendEnd(nil, nil)))
	pass(t, client, server, "still to be said")
	must(t, wantOrderly(server, client.Out.AppendEnd(nil, io.EOF)))
	if b := client.Out.AppendEnd(nil, nil); len(b) > 0 {
		t.Error("a second goodbye")
	}
}
