package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	fetchTimeout = 10 * time.Second
	firstRetry   = time.Second
	maxRetry     = time.Minute
)

// Options of a Fetcher.
type Options struct {
	// OnChange is told when the state of a location has changed, one call at a time. Required.
	OnChange func()
	// After is the clock. Default time.After.
	After func(time.Duration) <-chan time.Time
	// Now is the clock for the age of sets. Default time.Now.
	Now func() time.Time
	// Kept are sets of an earlier run, by Location.Name. One that is not older than MaxAge is in force until the first
	// success. Default none.
	Kept map[string]Kept
	// Keep is given each set that was fetched and is new, by Location.Name, and once an hour those that are not. It may
	// take its time, and is called from several goroutines. Default: nothing is kept.
	Keep func(name string, k Kept)
	// Logger, default none.
	Logger *zap.Logger
}

// A Fetcher keeps the key sets of the locations that it is told to watch. The last good set of each stays
// through failures, and through restarts if somebody keeps it; failures are retried after 1 s, then ever later, up to a minute. Safe for concurrent use.
type Fetcher struct {
	o Options

	calling sync.Mutex // held while OnChange runs

	mu      sync.Mutex // protects what follows
	states  map[string]State
	stop    map[string]context.CancelFunc
	watched map[string]Location
	closed  bool
}

// NewFetcher makes a Fetcher that watches nothing yet.
func NewFetcher(o Options) *Fetcher {
	if o.After == nil {
		o.After = time.After
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Fetcher{o: o, states: map[string]State{}, stop: map[string]context.CancelFunc{}, watched: map[string]Location{}}
}

// States is what is known of the watched locations, by Location.ID.
func (f *Fetcher) States() map[string]State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.states)
}

// Watch replaces the locations. Of one that is named twice the shorter refresh counts.
func (f *Fetcher) Watch(list []Location) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	want := map[string]Location{}
	for _, l := range list {
		had, ok := want[l.ID()]
		if !ok {
			had = l
		}
		want[l.ID()] = l.and(had)
	}
	was := f.watched
	f.watched = want
	for id, stop := range f.stop {
		if l, ok := want[id]; ok && was[id].Refresh == l.Refresh {
			continue
		} else if !ok {
			delete(f.states, id)
		}
		stop()
		delete(f.stop, id)
	}
	for id, l := range want {
		if f.stop[id] != nil {
			continue
		}
		if _, known := f.states[id]; !known {
			if keys := f.restore(l); keys != "" {
				f.states[id] = State{Keys: keys}
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		f.stop[id] = cancel
		go f.watch(ctx, l)
	}
}

// Close ends all watching.
func (f *Fetcher) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, stop := range f.stop {
		stop()
	}
}

func (f *Fetcher) watch(ctx context.Context, l Location) {
	retry, last := firstRetry, keeping{}
	for {
		keys, err := fetch(ctx, l)
		if ctx.Err() != nil {
			return
		}
		wait := l.Refresh
		if err != nil {
			f.o.Logger.Warn("cannot fetch the keys of a token issuer", zap.String("uri", l.URI), zap.Error(err))
			wait, retry = min(retry, l.Refresh), min(2*retry, maxRetry)
		} else {
			retry = firstRetry
		}
		f.store(ctx, l.ID(), keys, err)
		if err == nil {
			f.keep(l, keys, &last)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.o.After(wait):
		}
	}
}

func (f *Fetcher) store(ctx context.Context, id, keys string, err error) {
	f.mu.Lock()
	was := f.states[id]
	now := State{Keys: keys}
	if err != nil {
		now = State{Keys: was.Keys, Error: err.Error()}
	}
	gone := ctx.Err() != nil
	if !gone {
		f.states[id] = now
	}
	f.mu.Unlock()
	if gone || now == was {
		return
	}
	f.calling.Lock()
	defer f.calling.Unlock()
	f.o.OnChange()
}

// errLinkLocal keeps policies from having the controller look at what a machine's provider tells it alone.
var errLinkLocal = errors.New("addresses of the local link are not asked for keys")

// fetch asks once. Redirects are followed only to the same scheme.
func fetch(ctx context.Context, l Location) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	tr := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DialContext: (&net.Dialer{Control: refuseLinkLocal}).DialContext}
	if l.CACertificates != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(l.CACertificates)) {
			return "", errors.New("caCertificates holds no certificate in PEM")
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: tr, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= 3 || r.URL.Scheme != via[0].URL.Scheme {
			return errors.New("redirected too often, or to another scheme")
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URI, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", l.URI, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", l.URI, err)
	}
	keys, err := Parse(body)
	if err != nil {
		return "", fmt.Errorf("what %s answers is of no use: %w", l.URI, err)
	}
	return keys, nil
}

func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err == nil && ap.Addr().Unmap().IsLinkLocalUnicast() {
		return errLinkLocal
	}
	return nil
}
