package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A session moves from hand to hand while the peer, crypto/tls, talks on and notices nothing.
func TestExportUnderTraffic(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		ours, theirs := withStdlib(t, client)
		over := make(chan error, 1)
		go func() {
			_, err := io.Copy(theirs, theirs)
			over <- errors.Join(err, theirs.Close())
		}()
		for range 20 {
			echo(t, ours, 8)
			st, rest, err := ours.s.Export(nil)
			must(t, err)
			_, err = ours.Conn.Write(rest)
			must(t, err)
			ours.s, err = Import(st)
			must(t, err)
		}
		echo(t, ours, 8)
		must(t, ours.end(nil))
		must(t, <-over)
	})
}

func TestExportedSessionIsDead(t *testing.T) {
	client, server := joined(t)
	pass(t, client, server, "before")
	st, update, err := client.Export([]byte("unsent"))
	must(t, err)
	if !bytes.HasPrefix(update, []byte("unsent")) {
		t.Error("dst was lost")
	}
	if _, err := client.Out.Seal(make([]byte, 1+Overhead), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("seal: %v", err)
	}
	if _, _, err := client.In.Open(control(server, typeData, 'x')); !errors.Is(err, ErrClosed) {
		t.Errorf("open: %v", err)
	}
	if _, _, err := client.Export(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("export: %v", err)
	}
	if b := client.Out.AppendEnd(client.Out.AppendDue(nil), nil); len(b) > 0 || client.Out.Due() {
		t.Errorf("it still says %x", b)
	}
	if client.Out.aead != nil || client.Out.secret != nil || client.In.aead != nil || client.In.secret != nil {
		t.Error("keys are left")
	}
	if bytes.Equal(st.Out, nil) || len(st.Out) != 32 {
		t.Error("state has no secret")
	}
}

// The exporter's last key and the importer's first are different: nothing that either does by mistake can
// repeat a number under a key.
func TestHandOverSharesNoKey(t *testing.T) {
	client, server := joined(t)
	before := bytes.Clone(client.Out.secret)
	st, update, err := client.Export(nil)
	must(t, err)
	if bytes.Equal(st.Out, before) {
		t.Fatal("the exporter's key is handed over")
	}
	next, err := Import(st)
	must(t, err)
	if st.Out != nil || st.In != nil {
		t.Error("the state can be imported again")
	}
	must(t, receive(server, update))
	pass(t, next, server, "after")
	pass(t, server, next, "after")
}

// What was owed before the hand-over is owed after it.
func TestExportKeepsWhatIsOwed(t *testing.T) {
	client, server := joined(t)
	client.RekeyAfter(1)
	pass(t, server, client, "x") // the client wants a new key
	must(t, receive(client, control(server, typeHandshake, msgKeyUpdate, 0, 0, 1, 1)))
	must(t, server.Out.update())
	must(t, receive(client, control(server, typeHandshake, msgNewSessionTicket, 0, 0, 9, 1, 2, 3)))
	pass2 := func() {
		t.Helper()
		must(t, receive(client, control(server, typeHandshake, 4, 5, 6, 7, 8, 9)))
	}
	st, update, err := client.Export(nil)
	must(t, err)
	must(t, receive(server, update)) // the answer
	client, err = Import(st)
	must(t, err)
	pass2() // the rest of the ticket
	if client.In.useless != 3 || client.In.ticket != 0 {
		t.Errorf("counted %d, ticket %d", client.In.useless, client.In.ticket)
	}
	pass(t, server, client, "there")
	pass(t, client, server, "and back")
}

func TestImportRefusesNonsense(t *testing.T) {
	good := func() *State {
		return &State{Suite: suites[0].id, Out: make([]byte, 32), In: make([]byte, 32)}
	}
	for name, spoil := range map[string]func(*State){
		"suite":      func(s *State) { s.Suite = 0x1303 },
		"no secret":  func(s *State) { s.Out = nil },
		"length":     func(s *State) { s.In = make([]byte, 48) },
		"number":     func(s *State) { s.Seq = openLimit + 1 },
		"ticket":     func(s *State) { s.Ticket = -1 },
		"big ticket": func(s *State) { s.Ticket = 1 << 24 },
		"count":      func(s *State) { s.Useless = maxUseless + 1 },
	} {
		st := good()
		spoil(st)
		if _, err := Import(st); !errors.Is(err, ErrTakeover) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Import(good()); err != nil {
		t.Error(err)
	}
}

func TestStateIsNotLogged(t *testing.T) {
	st := State{Suite: 0x1301, Out: []byte("topsecret"), In: []byte("topsecret")}
	for _, s := range []string{fmt.Sprint(st), fmt.Sprintf("%v %+v %#v %s %x %d", st, st, &st, st, st, &st)} {
		if strings.Contains(s, "topsecret") || strings.Contains(s, "746f70") || strings.Contains(s, "116 111") {
			t.Errorf("logged: %s", s)
		}
	}
	if b, err := json.Marshal(st); err == nil {
		t.Errorf("marshalled: %s", b)
	}
}
