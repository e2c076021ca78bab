package modules

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	fetchTimeout = time.Minute
	firstRetry   = time.Second
	maxRetry     = time.Minute
)

// Location is where a module is.
type Location struct {
	// Owner is who wants it: namespace/name of the Extension.
	Owner string
	// URL, https. Either this or Image.
	URL string
	// Image is registry/repository:tag or registry/repository@sha256:digest.
	Image string
	// SHA256 of the module, in hexadecimal digits.
	SHA256 string
}

// ID is the same for the same module at the same place, whoever wants it.
func (l Location) ID() string { return l.URL + l.Image + " " + l.SHA256 }

// State is what is known of a module.
type State struct {
	// Code is the module. Empty before it was fetched.
	Code []byte
	// Error of the last attempt, if it failed.
	Error string
}

// Known is what a Fetcher knows.
type Known struct {
	// States by Location.ID.
	States map[string]State
	// Former are the modules that owners had last, by Location.Owner.
	Former map[string][]byte
}

// Options of a Fetcher.
type Options struct {
	// OnChange is told when the state of a module has changed, one call at a time. Required.
	OnChange func()
	// Client asks. Default one that trusts the system's roots and does not ask addresses of the local link.
	Client *http.Client
	// After is the clock. Default time.After.
	After func(time.Duration) <-chan time.Time
	// Logger, default none.
	Logger *zap.Logger
}

// A Fetcher has the modules that it is told to. Failures are tried again after 1 s, then ever later, up to a
// minute. Safe for concurrent use.
type Fetcher struct {
	o Options

	calling sync.Mutex // held while OnChange runs

	mu     sync.Mutex // protects what follows
	states map[string]State
	former map[string][]byte
	owners map[string][]string // of the wanted, by Location.ID
	stop   map[string]context.CancelFunc
	closed bool
}

// NewFetcher makes a Fetcher that fetches nothing yet.
func NewFetcher(o Options) *Fetcher {
	if o.Client == nil {
		o.Client = defaultClient()
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Fetcher{o: o, states: map[string]State{}, former: map[string][]byte{}, stop: map[string]context.CancelFunc{}}
}

// Known is what is known of the wanted modules.
func (f *Fetcher) Known() Known {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Known{States: maps.Clone(f.states), Former: maps.Clone(f.former)}
}

// Watch replaces the modules that are wanted. What nobody wants any more is forgotten.
func (f *Fetcher) Watch(list []Location) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	want, owners, of := map[string]Location{}, map[string]bool{}, map[string][]string{}
	for _, l := range list {
		want[l.ID()], owners[l.Owner] = l, true
		of[l.ID()] = append(of[l.ID()], l.Owner)
	}
	f.owners = of
	for id, stop := range f.stop {
		if _, ok := want[id]; !ok {
			stop()
			delete(f.stop, id)
			delete(f.states, id)
		}
	}
	maps.DeleteFunc(f.former, func(owner string, _ []byte) bool { return !owners[owner] })
	for id, l := range want {
		if f.stop[id] == nil {
			ctx, cancel := context.WithCancel(context.Background())
			f.stop[id] = cancel
			go f.fetch(ctx, l)
		}
		f.remember(id)
	}
}

// remember notes a module that is there as the one that its owners had last. Call with mu held.
func (f *Fetcher) remember(id string) {
	if code := f.states[id].Code; len(code) > 0 {
		for _, owner := range f.owners[id] {
			f.former[owner] = code
		}
	}
}

// Close ends all fetching.
func (f *Fetcher) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, stop := range f.stop {
		stop()
	}
}

func (f *Fetcher) fetch(ctx context.Context, l Location) {
	for retry := firstRetry; ; retry = min(2*retry, maxRetry) {
		code, err := f.once(ctx, l)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.o.Logger.Warn("cannot fetch a module", zap.String("extension", l.Owner), zap.String("from", l.URL+l.Image), zap.Error(err))
			f.store(ctx, l.ID(), State{Error: err.Error()})
		} else {
			f.store(ctx, l.ID(), State{Code: code})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-f.o.After(retry):
		}
	}
}

func (f *Fetcher) store(ctx context.Context, id string, now State) {
	f.mu.Lock()
	was := f.states[id]
	gone := ctx.Err() != nil
	if !gone {
		f.states[id] = now
		f.remember(id)
	}
	f.mu.Unlock()
	if gone || now.Error == was.Error && bytes.Equal(now.Code, was.Code) {
		return
	}
	f.calling.Lock()
	defer f.calling.Unlock()
	f.o.OnChange()
}
