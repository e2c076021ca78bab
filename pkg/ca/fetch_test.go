package ca

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// published is what an API server publishes.
type published struct {
	mu    sync.Mutex // protects all
	keys  []byte
	err   error
	asked int
}

func (p *published) fetch(context.Context) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.keys, p.err
}

func (p *published) set(keys []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.err = keys, err
}

func (p *published) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// tokenKey makes a key, and a token of it that lives for two hours.
func tokenKey(t *testing.T, clock Clock) (public []byte, token string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := CreateTokenKey(file); err != nil {
		t.Fatal(err)
	}
	token, err := MintToken(MintOptions{KeyFile: file, ServiceAccount: "shop/cart", TTL: 2 * time.Hour, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if public, err = os.ReadFile(file + ".pub"); err != nil {
		t.Fatal(err)
	}
	return public, token
}

// Keys are fetched again for a token that does not fit, seldom however many such tokens come, and in the
// background; while the API server is away those known go on being good.
func TestFetchedKeys(t *testing.T) {
	clock := newFakeClock()
	first, token1 := tokenKey(t, clock)
	second, token2 := tokenKey(t, clock)
	server := &published{keys: first}
	a, err := NewJWTAuthenticator(JWTOptions{Fetch: server.fetch, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	good := func(token string) bool { _, err := a.Verify(token); return err == nil }
	if !good(token1) || good(token2) {
		t.Fatal("the first key does not decide")
	}
	server.set(append(first, second...), nil)
	clock.Advance(minFetch)
	if !good(token2) {
		t.Error("a key that was added is not found")
	}
	_, stranger := tokenKey(t, clock)
	before := server.count()
	for range 100 {
		if good(stranger) {
			t.Fatal("a stranger's token was accepted")
		}
	}
	if n := server.count() - before; n > 1 {
		t.Errorf("100 tokens of strangers made %d requests", n)
	}

	server.set(nil, errors.New("away"))
	clock.Advance(minFetch)
	if good(stranger) || !good(token1) || !good(token2) {
		t.Error("while the server is away other tokens are good than before")
	}
	server.set([]byte("garbage"), nil)
	clock.Advance(minFetch)
	if good(stranger) || !good(token1) {
		t.Error("garbage took the place of the keys")
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx, zap.NewNop()) }()
	eventually(t, "it waits", func() bool { return clock.next() == defaultFetch })
	server.set(second, nil)
	clock.Advance(defaultFetch)
	eventually(t, "the old key is gone", func() bool { return !good(token1) })
	if !good(token2) {
		t.Error("the new key is gone too")
	}
	cancel()
	<-done
}
