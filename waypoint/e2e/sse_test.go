package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/weftmesh/weft/pkg/model"
)

// prices is a server of numbered events, which sends one when it is told to, goes on behind the last that a client says
// it has, and can break off in the middle of a stream.
type prices struct {
	next chan bool   // send one, or with false break off
	from chan string // what a client that comes has seen last
	left chan bool   // told of each stream that is over
}

func (s *prices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() { s.left <- true }()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	id, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	fmt.Fprint(w, ": welcome\nretry: 10\n\n")
	_ = out.Flush()
	s.from <- r.Header.Get("Last-Event-ID")
	for {
		select {
		case <-r.Context().Done():
			return
		case goOn := <-s.next:
			if !goOn {
				panic(http.ErrAbortHandler)
			}
		}
		id++
		fmt.Fprintf(w, "id: %d\nevent: price\ndata: line one of %d\ndata: line two\n\n", id, id)
		_ = out.Flush()
	}
}

// A client of server-sent events gets each as it is sent, not when the answer is over, and goes on where it was
// when a stream breaks off.
func TestServerSentEvents(t *testing.T) {
	m := newMesh(t)
	s := &prices{next: make(chan bool), from: make(chan string, 10), left: make(chan bool, 10)}
	addr := m.app(s, model.AppHTTP)
	for proto, tr := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": plainHTTP2()} {
		t.Run(proto, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/prices", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			events, ended := make(chan string, 10), make(chan error, 1)
			client := sse.Client{HTTPClient: &http.Client{Transport: tr}}
			c := client.NewConnection(req)
			c.SubscribeEvent("price", func(e sse.Event) { events <- e.LastEventID + " " + e.Data })
			go func() { ended <- c.Connect() }()
			expect := func(what, want string, from <-chan string) {
				t.Helper()
				select {
				case got := <-from:
					if got != want {
						t.Fatalf("%s: %q, want %q", what, got, want)
					}
				case err := <-ended:
					t.Fatalf("%s: the client gave up: %v", what, err)
				}
			}
			send := func(what bool) {
				t.Helper()
				select {
				case s.next <- what:
				case err := <-ended:
					t.Fatalf("the client gave up: %v", err)
				}
			}
			expect("the first connection", "", s.from)
			for i := range 6 {
				if i == 3 {
					send(false)
					expect("the client is back", "3", s.from)
				}
				send(true) // and nothing after it: what is held back would never come
				expect("event", fmt.Sprintf("%d line one of %d\nline two", i+1, i+1), events)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
				t.Errorf("the client ended with %v", err)
			}
			for range 2 { // else they may take the next subtest's event
				select {
				case <-s.left:
				case <-time.After(time.Minute):
					t.Fatal("a stream goes on without its client")
				}
			}
		})
	}
}
