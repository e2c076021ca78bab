package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/jwks"
)

const (
	keysRoom    = 768 << 10 // bytes of all sets as they are stored; a Secret holds 1 MiB
	keysSetRoom = 64 << 10  // bytes of one
	keysEntry   = 128       // bytes that an entry costs beside its content
)

// keyStore holds the last good key sets of token issuers where the next run, or another replica, finds them.
type keyStore interface {
	// read is all that was written, by name.
	read(ctx context.Context) (map[string][]byte, error)
	// write replaces some entries; nil takes one out.
	write(ctx context.Context, entries map[string][]byte) error
}

// keyKeeper keeps what is fetched in a store, one write for all that came since the last.
type keyKeeper struct {
	store   keyStore
	log     *zap.Logger
	timeout time.Duration // of reading, and of writing
	retry   time.Duration // after a write that failed
	now     func() time.Time
	wake    chan struct{} // holds one: something is waiting

	mu      sync.Mutex           // protects what follows
	waiting map[string]jwks.Kept // to be written
}

// keeping joins a store to the options of the fetcher, until ctx ends. What cannot be kept is told; nothing else depends
// on it, and nobody waits for it.
func keeping(ctx context.Context, store keyStore, o jwks.Options) jwks.Options {
	k := newKeyKeeper(store, o.Logger)
	entries, err := k.read(ctx)
	if err != nil {
		k.log.Warn("no keys of token issuers are known from before: until they are fetched their tokens are refused", zap.Error(err))
	}
	o.Kept, _ = decodeKept(entries)
	o.Keep = k.keep
	go k.run(ctx)
	return o
}

func newKeyKeeper(store keyStore, log *zap.Logger) *keyKeeper {
	return &keyKeeper{store: store, log: log, timeout: 5 * time.Second, retry: 30 * time.Second, now: time.Now, wake: make(chan struct{}, 1), waiting: map[string]jwks.Kept{}}
}

func (k *keyKeeper) keep(name string, set jwks.Kept) {
	k.mu.Lock()
	k.waiting[name] = set
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keyKeeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		k.mu.Lock()
		sets := k.waiting
		k.waiting = map[string]jwks.Kept{}
		k.mu.Unlock()
		err := k.put(ctx, sets)
		if err == nil || ctx.Err() != nil {
			continue
		}
		k.log.Warn("the keys of token issuers are not kept: after a restart their tokens are refused until the keys are fetched",
			zap.Int("sets", len(sets)), zap.Duration("retryIn", k.retry), zap.Error(err))
		select {
		case <-ctx.Done():
		case <-time.After(k.retry):
			k.again(sets)
		}
	}
}

// again puts back what was not written, but for what is newer.
func (k *keyKeeper) again(sets map[string]jwks.Kept) {
	k.mu.Lock()
	maps.Copy(sets, k.waiting)
	k.waiting = sets
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keyKeeper) read(ctx context.Context) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	return k.store.read(ctx)
}

// put writes sets, and takes out what is of no use any more and what has no room beside them.
func (k *keyKeeper) put(ctx context.Context, sets map[string]jwks.Kept) error {
	had, err := k.read(ctx)
	if err != nil {
		return err
	}
	all, _ := decodeKept(had)
	entries := map[string][]byte{}
	maps.Copy(entries, had)
	for name, set := range sets {
		if old, ok := all[name]; ok && old.Keys == set.Keys && set.Fetched.Sub(old.Fetched) < time.Minute {
			continue // another replica has just done it
		}
		data, err := json.Marshal(set)
		if err != nil {
			return fmt.Errorf("keep the keys of %s: %w", set.URI, err)
		}
		if len(data) > keysSetRoom {
			k.log.Warn("the keys of a token issuer are too many to be kept: after a restart its tokens are refused until they are fetched",
				zap.String("uri", set.URI), zap.Int("bytes", len(data)), zap.Int("limit", keysSetRoom))
			data = nil // nor is what was kept of it before: that may hold keys that were withdrawn
		}
		entries[name] = data
	}
	evict(entries, k.now())
	changed := map[string][]byte{}
	for name := range had {
		if _, stays := entries[name]; !stays {
			changed[name] = nil
		}
	}
	for name, data := range entries {
		if !bytes.Equal(had[name], data) {
			changed[name] = data
		}
	}
	if len(changed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	return k.store.write(ctx, changed)
}

// decodeKept reads entries, and names those that are none.
func decodeKept(entries map[string][]byte) (sets map[string]jwks.Kept, bad []string) {
	sets = map[string]jwks.Kept{}
	for name, data := range entries {
		var k jwks.Kept
		if json.Unmarshal(data, &k) != nil {
			bad = append(bad, name)
			continue
		}
		sets[name] = k
	}
	return sets, bad
}

// evict takes out what is garbage, too old or too large, and then of what does not fit by what keptShares says.
func evict(entries map[string][]byte, now time.Time) {
	sets, bad := decodeKept(entries)
	for _, name := range bad {
		delete(entries, name)
	}
	for name, set := range sets {
		if set.Old(now) || len(entries[name]) > keysSetRoom {
			delete(entries, name)
			delete(sets, name)
		}
	}
	s := keptShares{sets: sets, size: map[string]int{}, of: map[string]int{}}
	for name := range sets {
		s.size[name] = len(name) + len(entries[name]) + keysEntry
		s.count(name, 1)
	}
	for s.total > keysRoom {
		name := s.next()
		delete(entries, name)
		s.count(name, -1)
		delete(sets, name)
	}
}

// keptShares says whose sets are to go. Room is shared by namespaces: whoever has most gives first, so nobody can push out
// the sets of another by asking for many. A set that several namespaces want counts to each for its part.
type keptShares struct {
	sets  map[string]jwks.Kept
	size  map[string]int // of an entry
	of    map[string]int // bytes of a namespace
	total int
}

// owners of a set; of one that an earlier release kept nobody is known.
func (s *keptShares) owners(name string) []string {
	if list := s.sets[name].For; len(list) > 0 {
		return list
	}
	return []string{""}
}

func (s *keptShares) count(name string, sign int) {
	list := s.owners(name)
	for _, ns := range list {
		s.of[ns] += sign * s.size[name] / len(list)
	}
	s.total += sign * s.size[name]
}

// next is, of the namespace that has most, the set that fewest others want, and of those the oldest.
func (s *keptShares) next() string {
	most := slices.MaxFunc(slices.Sorted(maps.Keys(s.of)), func(a, b string) int { return cmp.Compare(s.of[a], s.of[b]) })
	var mine []string
	for name := range s.sets {
		if slices.Contains(s.owners(name), most) {
			mine = append(mine, name)
		}
	}
	return slices.MinFunc(mine, func(a, b string) int {
		x, y := s.sets[a], s.sets[b]
		return cmp.Or(cmp.Compare(len(x.For), len(y.For)), x.Fetched.Compare(y.Fetched), strings.Compare(a, b))
	})
}
