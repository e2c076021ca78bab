package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weftmesh/weft/pkg/jwks"
)

// provider serves what the test says.
type provider struct {
	mu   sync.Mutex // protects what follows
	code int
	body []byte
}

func (p *provider) set(code int, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.code, p.body = code, body
}

func (p *provider) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.WriteHeader(p.code)
	_, _ = w.Write(p.body)
}

// Keys come, rotate, stay through failures, and go with their location.
func TestFetcher(t *testing.T) {
	p := &provider{}
	srv := httptest.NewTLSServer(p)
	defer srv.Close()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	l := jwks.Location{URI: srv.URL + "/keys", CACertificates: string(roots), Refresh: time.Minute}
	tick, changed := make(chan time.Time), make(chan struct{}, 100)
	f := jwks.NewFetcher(jwks.Options{
		OnChange: func() { changed <- struct{}{} },
		After:    func(time.Duration) <-chan time.Time { return tick },
	})
	defer f.Close()
	next := func() jwks.State {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing has changed")
		}
		return f.States()[l.ID()]
	}
	p.set(500, nil)
	f.Watch([]jwks.Location{l})
	if s := next(); s.Keys != "" || !strings.Contains(s.Error, "500") {
		t.Errorf("a server in trouble: %+v", s)
	}
	p.set(200, set(t, "one"))
	tick <- time.Time{}
	if s := next(); !strings.Contains(s.Keys, `"one"`) || s.Error != "" {
		t.Errorf("the first keys: %+v", s)
	}
	for _, bad := range []struct {
		code int
		body string
	}{{200, "<html>"}, {200, `{"keys":[]}`}, {404, "gone"}} {
		p.set(bad.code, []byte(bad.body))
		tick <- time.Time{}
		if s := next(); !strings.Contains(s.Keys, `"one"`) || s.Error == "" {
			t.Errorf("after %q the last good keys are %+v", bad.body, s)
		}
	}
	p.set(200, set(t, "two"))
	tick <- time.Time{}
	if s := next(); !strings.Contains(s.Keys, `"two"`) || strings.Contains(s.Keys, `"one"`) || s.Error != "" {
		t.Errorf("rotated keys: %+v", s)
	}
	f.Watch(nil)
	if len(f.States()) != 0 {
		t.Error("a location that nobody wants is still there")
	}
}

func TestFetcherTrustsNobodyElse(t *testing.T) {
	p := &provider{}
	p.set(200, set(t, "one"))
	srv := httptest.NewTLSServer(p)
	defer srv.Close()
	for uri, want := range map[string]string{srv.URL: "certificate", "http://169.254.169.254/keys": "local link", "http://[fe80::1%25lo]/": "local link"} {
		changed := make(chan struct{}, 10)
		f := jwks.NewFetcher(jwks.Options{OnChange: func() { changed <- struct{}{} }})
		f.Watch([]jwks.Location{{URI: uri, Refresh: time.Hour}})
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing has changed", uri)
		}
		if s := f.States()[uri]; s.Keys != "" || !strings.Contains(s.Error, want) {
			t.Errorf("%s: %+v, want an error about %s", uri, s, want)
		}
		f.Close()
	}
}

func set(t *testing.T, kid string) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return marshal(t, jose.JSONWebKey{Key: k.Public(), KeyID: kid})
}

func ExampleLocation_ID() {
	fmt.Println(jwks.Location{URI: "https://login.example/keys"}.ID())
	// Output: https://login.example/keys
}
