package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/weftmesh/weft/pkg/model"
)

func echoMessages(c *websocket.Conn) {
	var m string
	for websocket.Message.Receive(c, &m) == nil && websocket.Message.Send(c, m) == nil {
		continue
	}
}

func TestWebSocketLibrary(t *testing.T) {
	m := newMesh(t)
	addr := m.app(websocket.Handler(echoMessages), model.AppHTTP)
	c, err := websocket.Dial("ws://"+addr+"/chat", "", "http://shop.example")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		sent := strings.Repeat(fmt.Sprint(i), 1000*i+1)
		if err := websocket.Message.Send(c, sent); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := websocket.Message.Receive(c, &got); err != nil || got != sent {
			t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// A caller who goes away is not worked for any longer.
func TestCancelReachesServer(t *testing.T) {
	m := newMesh(t)
	begun, gone := make(chan struct{}, 1), make(chan error, 1)
	addr := m.app(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		gone <- r.Context().Err()
	}), model.AppHTTP)
	for _, c := range []*http.Client{{Transport: &http.Transport{DisableKeepAlives: true}}, {Transport: plainHTTP2()}} {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			res, err := c.Do(req)
			if err == nil {
				res.Body.Close()
			}
			done <- err
		}()
		<-begun
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the client got %v", err)
		}
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Fatal("the server was not told that the client had gone")
		}
	}
}

func plainHTTP2() *http.Transport {
	tr := &http.Transport{Protocols: &http.Protocols{}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

// Trailers pass in both directions, by HTTP/1.1 and HTTP/2.
func TestTrailers(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-Proto")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "answer to "+r.Trailer.Get("X-Sum"))
		w.Header().Set("X-Proto", r.Proto)
	}), model.AppHTTP)
	for proto, c := range map[string]*http.Client{"HTTP/1.1": {}, "HTTP/2.0": {Transport: plainHTTP2()}} {
		pr, pw := io.Pipe()
		req, err := http.NewRequest(http.MethodPost, "http://"+addr, pr)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": nil}
		go func() {
			_, _ = io.WriteString(pw, "body")
			req.Trailer.Set("X-Sum", "42")
			pw.Close()
		}()
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "body" || res.Trailer.Get("X-Sum") != "answer to 42" || res.Trailer.Get("X-Proto") != proto {
			t.Errorf("%s: %q %v, trailers %v", proto, body, err, res.Trailer)
		}
		c.CloseIdleConnections()
	}
}

// A request that waits longer than any of Envoy's defaults would is only cut off by what a person configured: see
// translate.TestNoTimersOfItsOwn. Here, that a configured time does cut off, and other rules' requests do not.
func TestLongPolling(t *testing.T) {
	m := newMesh(t)
	m.route("poll", model.RouteRule{Matches: path(model.PathPrefix, "/sleep/60000"), Timeout: 300 * time.Millisecond, Backends: []model.Backend{backend(key, 1)}},
		model.RouteRule{Matches: path(model.PathPrefix, "/sleep"), Backends: []model.Backend{backend(key, 1)}})
	m.publish()
	m.statusIs(404, m.http, "GET", "/none") // the routes are there
	m.statusIs(504, m.http, "GET", "/sleep/60000")
	m.statusIs(200, m.http, "GET", "/sleep/1500")
}
