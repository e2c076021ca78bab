package calls

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server answers each connection by f until the test ends.
func server(t *testing.T, f func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c.(*net.TCPConn)) }()
		}
	}()
	return l.Addr().String()
}

func TestRefusedWantsARefusal(t *testing.T) {
	silent := func(c *net.TCPConn) { io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		serve   func(*net.TCPConn)
		outcome string
	}{
		"answers": {func(c *net.TCPConn) { fmt.Fprint(c, "220 welcome\r\n"); bufio.NewReader(c).ReadString('\n') }, ""},
		"resets":  {func(c *net.TCPConn) { c.SetLinger(0) }, Refused},
		"closes":  {func(*net.TCPConn) {}, Refused},
		"silent":  {silent, ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if outcome, err := refused(server(t, c.serve))(ctx); outcome != c.outcome || (err == nil) != (c.outcome != "") {
			t.Errorf("%s: %q %v", name, outcome, err)
		}
		cancel()
	}
	if outcome, err := refused("127.0.0.1:1")(t.Context()); outcome != Refused || err != nil {
		t.Errorf("nobody listens: %q %v", outcome, err)
	}
}

// A fault is an outcome only where it was asked for.
func TestGetTellsFaults(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ok" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, strings.TrimPrefix(r.URL.Path, "/"))
		}
	}))
	defer srv.Close()
	w, err := newWeb()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	patient := http.Header{"X-User": {"patient"}}
	for _, c := range []struct {
		path    string
		header  http.Header
		outcome string
	}{
		{"/ok", nil, OK}, {"/ok?catalog", patient, OK}, {"/" + faultText + "?catalog", nil, Faulted},
		{"/" + faultText + "?catalog", patient, ""}, {"/" + faultText + "?cart", nil, ""}, {"/no healthy upstream?catalog", nil, ""},
	} {
		outcome, err := w.get(w.kept, srv.URL+strings.ReplaceAll(c.path, " ", "%20"), c.header, "")(t.Context())
		if outcome != c.outcome || (err == nil) != (c.outcome != "") {
			t.Errorf("%s: %q %v", c.path, outcome, err)
		}
	}
}

func TestRunReportsWhatFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var n atomic.Int64
	k := kind{"coin", time.Millisecond, func(ctx context.Context) (string, error) {
		switch i := n.Add(1); {
		case i > 10:
			<-ctx.Done() // under way at the end: says nothing
		case i%2 == 0:
			return "", errors.New("tails")
		}
		return OK, nil
	}}
	c, done := newCounter(), make(chan struct{})
	go func() { defer close(done); k.repeat(ctx, time.Millisecond, c) }()
	for good, failed := 0, []Failure(nil); good < 5 || len(failed) < 5; time.Sleep(time.Millisecond) {
		now := c.take()
		good += now.Outcomes["coin"][OK]
		failed = append(failed, now.Failures...)
		if good > 5 || len(failed) > 5 || len(failed) > 0 && failed[0].Error != "tails" {
			t.Fatalf("%d good, %+v", good, failed)
		}
	}
	cancel()
	<-done
	tally := c.take()
	if len(tally.Outcomes)+len(tally.Failures) != 0 {
		t.Errorf("what the end cut off was counted: %+v", tally)
	}
	for range maxListed + 3 {
		c.add("x", time.Now(), "", errors.New("y"))
	}
	if tally = c.take(); len(tally.Failures) != maxListed || tally.Failures[maxListed-1].More != 3 {
		t.Errorf("%d listed", len(tally.Failures))
	}
}

// Run's last line is what came of the calls since the one before.
func TestRunEndsWithATally(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := Run(ctx, Stranger, 1, time.Hour, &out); err != nil {
		t.Fatal(err)
	}
	var tally Tally
	if err := json.Unmarshal(out.Bytes(), &tally); err != nil || tally.At.IsZero() {
		t.Errorf("%q: %v", out.String(), err)
	}
	if err := Run(t.Context(), "nobody", 1, time.Hour, &out); err == nil {
		t.Error("a role that does not exist ran")
	}
	if err := Run(t.Context(), Shopper, 0, time.Hour, &out); err == nil {
		t.Error("a rate of 0 ran")
	}
}
