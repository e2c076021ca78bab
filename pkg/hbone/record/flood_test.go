package record

import (
	"bytes"
	"errors"
	"testing"
)

// Whatever costs us without bringing payload ends the session after 16 of it in a row, alone or mixed.
func TestFloods(t *testing.T) {
	empty := func(p *Session) []byte { return control(p, typeData) }
	padding := func(p *Session) []byte { return padded(p.Out, typeData, nil, 1000) }
	canceled := func(p *Session) []byte { return control(p, typeAlert, 1, byte(userCanceled)) }
	update := func(asks byte) func(p *Session) []byte {
		return func(p *Session) []byte {
			b := control(p, typeHandshake, msgKeyUpdate, 0, 0, 1, asks)
			_ = p.Out.update()
			return b
		}
	}
	ticket := func(p *Session) []byte { return control(p, typeHandshake, msgNewSessionTicket, 0, 0, 1, 0) }
	for _, c := range []struct {
		name string
		make []func(*Session) []byte
	}{
		{"empty records", []func(*Session) []byte{empty}},
		{"records of padding", []func(*Session) []byte{padding}},
		{"user_canceled", []func(*Session) []byte{canceled}},
		{"KeyUpdates", []func(*Session) []byte{update(0)}},
		{"KeyUpdates that ask", []func(*Session) []byte{update(1)}},
		{"tickets", []func(*Session) []byte{ticket}},
		{"all in turn", []func(*Session) []byte{empty, padding, canceled, update(0), update(1), ticket}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := joined(t)
			for round := range 3 {
				for i := range maxUseless {
					must(t, receive(client, c.make[i%len(c.make)](server)))
				}
				if round < 2 {
					pass(t, server, client, "payload makes good")
				}
			}
			wantEnd(t, client, server, c.make[0](server), unexpectedMessage)
		})
	}
}

// A ticket of many pieces, and a record of many tickets, count for what they are.
func TestFloodsOfTickets(t *testing.T) {
	t.Run("in one record", func(t *testing.T) {
		client, server := joined(t)
		tickets := bytes.Repeat([]byte{msgNewSessionTicket, 0, 0, 1, 0}, maxUseless+1)
		wantEnd(t, client, server, control(server, typeHandshake, tickets...), unexpectedMessage)
	})
	t.Run("in pieces of a byte", func(t *testing.T) {
		client, server := joined(t)
		b := control(server, typeHandshake, msgNewSessionTicket, 0, 1, 0)
		for range maxUseless {
			b = append(b, control(server, typeHandshake, 0)...)
		}
		wantEnd(t, client, server, b, unexpectedMessage)
	})
}

// Requests for KeyUpdates between data cost one answer a batch, however many they are.
func TestAnswersDoNotPileUp(t *testing.T) {
	client, server := joined(t)
	var b []byte
	for range 1000 {
		b = append(b, control(server, typeHandshake, msgKeyUpdate, 0, 0, 1, 1)...)
		must(t, server.Out.update())
		b = append(b, control(server, typeData, 'x')...)
	}
	for len(b) > 0 {
		_, n, err := client.In.Open(b)
		must(t, err)
		b = b[n:]
	}
	if out := client.Out.AppendDue(nil); len(out) != 5+Overhead {
		t.Errorf("%d bytes of answers", len(out))
	}
}

// No answer is made by who has said goodbye.
func TestNothingIsSealedBehindTheEnd(t *testing.T) {
	client, server := joined(t)
	must(t, wantOrderly(server, client.Out.AppendEnd(nil, nil)))
	must(t, receive(client, control(server, typeHandshake, msgKeyUpdate, 0, 0, 1, 1)))
	if client.Out.Due() || len(client.Out.AppendDue(nil)) > 0 {
		t.Error("a KeyUpdate behind close_notify")
	}
	if _, err := client.Out.Seal(make([]byte, 1+Overhead), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("data behind close_notify: %v", err)
	}
}
