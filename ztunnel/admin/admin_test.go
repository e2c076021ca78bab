package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func call(h http.Handler, method, path string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestPages(t *testing.T) {
	level := zap.NewAtomicLevelAt(zapcore.InfoLevel)
	quit, ready := 0, errors.New("no configuration from the controller yet")
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_x"}, func() float64 { return 1 }))
	h := Handler(Options{
		Dump: func() map[string]any { return map[string]any{"node": "n1"} }, Sections: map[string]func() any{"connections": func() any { return []int{} }},
		Ready: func() error { return ready }, Quit: func() { quit++ }, Retire: func() int { return 3 }, Level: level, Metrics: reg,
	})
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/", 200, "/config_dump"},
		{"GET", "/config_dump", 200, `"node": "n1"`},
		{"GET", "/connections", 200, "[]"},
		{"GET", "/ready", 503, "no configuration"},
		{"GET", "/metrics", 200, "weft_x 1"},
		{"GET", "/logging", 200, "info"},
		{"POST", "/logging?level=debug", 200, "debug"},
		{"POST", "/logging?level=loud", 400, "want debug"},
		{"GET", "/logging", 200, "debug"},
		{"GET", "/quitquitquit", 405, ""},
		{"GET", "/retire", 405, ""},
		{"POST", "/retire", 200, "3"},
		{"GET", "/debug/pprof/", 200, "goroutine"},
		{"GET", "/nothing", 404, ""},
	} {
		if code, body := call(h, c.method, c.path); code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s %s: %d %.80q", c.method, c.path, code, body)
		}
	}
	if code, _ := call(h, "POST", "/quitquitquit", "Origin", "http://evil.example"); code != 403 || quit != 0 {
		t.Errorf("a web page could stop the proxy: %d", code)
	}
	if code, _ := call(h, "POST", "/quitquitquit"); code != 200 || quit != 1 {
		t.Errorf("quit: %d", code)
	}
	if ready = nil; true {
		if code, _ := call(h, "GET", "/ready"); code != 200 {
			t.Errorf("ready: %d", code)
		}
	}
}

func TestListenOnlyLocally(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80", "15000"} {
		if l, err := Listen(addr); err == nil {
			l.Close()
			t.Errorf("%s: an admin page for the network", addr)
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // left over by a crash
		t.Fatal(err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Serve(ctx, l, Handler(Options{Dump: func() map[string]any { return map[string]any{"a": 1} }}))
	}()
	if _, err := Listen(path); err == nil {
		t.Error("a second process took the socket of a living one")
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	resp, err := client.Get("http://admin/config_dump")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	var got map[string]any
	if json.Unmarshal(b, &got) != nil || got["a"] != 1.0 {
		t.Errorf("%s", b)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Whoever tells the program to stop is answered, although the server stops at that very moment.
func TestQuitIsAnswered(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		l, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			done <- Serve(ctx, l, Handler(Options{Quit: func() {
				cancel()
				time.Sleep(time.Millisecond) // lets the server begin to stop before the answer is out
			}}))
		}()
		resp, err := http.Post("http://"+l.Addr().String()+"/quitquitquit", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "draining\n" {
			t.Errorf("%q %v", b, err)
		}
		resp.Body.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
