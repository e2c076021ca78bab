package xds

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// deltaCache holds the resources of one type for clients that want all of them. A change costs what
// changed, however many resources there are: a client that has everything is remembered as a place in the
// log of changes, where go-control-plane's caches keep and copy a map of all versions per client.
//
// Clients that name single resources are served by aliases.
type deltaCache struct {
	typeURL  string
	names    func(body []byte) []string // under which a resource is found besides its own
	keep     int                        // changes that are remembered at least
	partSize int                        // bytes at which a part of everything ends

	mu        sync.Mutex // protects what follows
	resources map[string]kept
	order     order
	log       []string // names of what was changed, set or removed, in order
	base      uint64   // changes before log[0]
	watches   map[uint64]waiting
	lastWatch uint64
	told      time.Time     // when clients were told last
	gap       time.Duration // from then on until they are told of what can wait
	later     *time.Timer   // tells them; nil: there is nothing to tell
	single    *aliases      // nil until the first client asks for single resources: it doubles what is kept
}

// kept is a resource in the encoding of the field of a response that it is in: as messages 100,000 workloads take
// three times the memory, and a thousand clients that start would have each of them encoded a thousand times.
type kept struct {
	frame   []byte
	body    int32  // where the resource itself begins in the frame, at whose end it ends
	slot    int32  // in the order
	version string // hash of the resource
}

// content is of a response what clients may share.
type content struct {
	frames  []byte // resources
	removed []string
}

func (c *content) empty() bool { return len(c.frames)+len(c.removed) == 0 }

// waiting is a client that has everything up to a place in the log.
type waiting struct {
	at      uint64
	request *cache.DeltaRequest
	out     chan cache.DeltaResponse
}

// change is what differs between two states.
type change struct {
	update map[string][]byte
	remove []string
	bad    []error // what could not be encoded and stays as it was
}

func newDeltaCache(typeURL string, names func(body []byte) []string) *deltaCache {
	return &deltaCache{typeURL: typeURL, names: names, keep: minLog, partSize: partBytes, resources: map[string]kept{}, watches: map[uint64]waiting{}}
}

// minLog is how many changes are remembered at least. A client that is further behind has to reconnect,
// with the versions that it knows.
const minLog = 1 << 14

// What can wait is gathered for perClient times the clients that were told last, but for maxGap at most. Telling a client
// costs some tenths of a millisecond at both ends, whatever it is told: with a thousand of them and a hundred changes
// a second this halves what the controller needs.
const (
	perClient = 250 * time.Microsecond
	maxGap    = 250 * time.Millisecond
)

// set changes resources and tells everybody who waits.
func (c *deltaCache) set(ch change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ch.update)+len(ch.remove) == 0 {
		if c.later != nil { // something else that is told of next may rest on it
			c.tell()
		}
		return nil
	}
	defer c.tell()
	return c.change(ch)
}

// gather changes resources and tells everybody who waits, soon.
func (c *deltaCache) gather(ch change) error {
	if len(ch.update)+len(ch.remove) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.change(ch)
	switch wait := c.gap - time.Since(c.told); {
	case c.later != nil:
	case wait <= 0:
		c.tell()
	default:
		c.later = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.later != nil {
				c.tell()
			}
		})
	}
	return err
}

// change notes what differs. Call with mu held, as all below.
func (c *deltaCache) change(ch change) error {
	for name, body := range ch.update {
		old, known := c.resources[name]
		if !known {
			old.slot = c.order.add(name)
		}
		c.resources[name] = frame(name, c.typeURL, body, old.slot)
		c.log = append(c.log, name)
	}
	for _, name := range ch.remove {
		if old, known := c.resources[name]; known {
			c.order.remove(old.slot)
			delete(c.resources, name)
		}
		c.log = append(c.log, name)
	}
	if limit := max(c.keep, 2*len(c.resources)); len(c.log) > limit {
		c.tell() // so that none of those who wait is behind the log
		drop := len(c.log) - limit/2
		c.base += uint64(drop)
		c.log = slices.Clone(c.log[drop:])
	}
	if c.single == nil {
		return nil
	}
	return c.single.apply(ch)
}

// head is the place in the log of a client that has everything.
func (c *deltaCache) head() uint64 { return c.base + uint64(len(c.log)) }

// tell answers all who wait. Those that were equally far share the messages.
func (c *deltaCache) tell() {
	if c.later != nil {
		c.later.Stop()
		c.later = nil
	}
	c.told, c.gap = time.Now(), min(time.Duration(len(c.watches))*perClient, maxGap)
	shared := map[uint64]*content{}
	for id, w := range c.watches {
		what, done := shared[w.at]
		if !done {
			what, _ = c.since(w.at, nil) // of those who wait none is behind the log
			shared[w.at] = what
		}
		w.out <- c.answer(w.request, what)
		delete(c.watches, id)
	}
}

// since lists what a client at a place in the log lacks, and besides what it forgot; false when the log no
// longer goes back that far.
func (c *deltaCache) since(at uint64, forgot []string) (*content, bool) {
	if at < c.base || at > c.head() {
		return nil, false
	}
	names := append(slices.Clone(c.log[at-c.base:]), forgot...)
	slices.Sort(names)
	out := &content{}
	for _, name := range slices.Compact(names) {
		c.add(out, name)
	}
	return out, true
}

// all compares everything with the versions that a client says it has.
func (c *deltaCache) all(known map[string]string) *content {
	out := &content{}
	for name, r := range c.resources {
		if known[name] != r.version {
			c.add(out, name)
		}
	}
	for name := range known {
		if _, there := c.resources[name]; !there {
			out.removed = append(out.removed, name)
		}
	}
	return out
}

func (c *deltaCache) add(out *content, name string) {
	r, there := c.resources[name]
	if !there {
		out.removed = append(out.removed, name)
		return
	}
	out.frames = append(out.frames, r.frame...)
}

// place is the one key of the map in which go-control-plane remembers between two requests of a stream
// what its client has. No resource has this name, for its first byte is in no name.
const place = "\x00place"

// CreateDeltaWatch answers now, or when there is something that the client lacks.
func (c *deltaCache) CreateDeltaWatch(r *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !sub.IsWildcard() {
		return c.one(r, sub, out)
	}
	known := sub.ReturnedResources()
	mark, follows := known[place]
	if _, claimed := r.GetInitialResourceVersions()[place]; !follows || claimed {
		if len(known) == 0 && takesParts(r) {
			out <- c.part(r, c.head(), 0)
			return nil, nil
		}
		out <- c.answer(r, c.all(known))
		return nil, nil
	}
	at, next, err := readMark(mark)
	if err != nil {
		return nil, grpcstatus.Errorf(codes.Internal, "place in the log of changes: %v", err)
	}
	if next > 0 {
		out <- c.part(r, at, next)
		return nil, nil
	}
	var forgot []string // a client of everything that unsubscribes from one resource has to be sent it again
	for name := range known {
		if name != place {
			forgot = append(forgot, name)
		}
	}
	what, ok := c.since(at, forgot)
	if !ok {
		return nil, grpcstatus.Error(codes.Unavailable, "too far behind: reconnect with the versions that you have")
	}
	if !what.empty() && (c.later == nil || len(forgot) > 0) {
		out <- c.answer(r, what)
		return nil, nil
	}
	c.lastWatch++
	id := c.lastWatch
	c.watches[id] = waiting{at: at, request: r, out: out}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watches, id)
	}, nil
}

// idle is the number of clients that have everything.
func (c *deltaCache) idle() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	if c.later == nil {
		n = len(c.watches)
	}
	if c.single != nil {
		n += c.single.cache.NumCacheWatches()
	}
	return n
}

// CreateWatch refuses state-of-the-world requests: each change would send everything.
func (c *deltaCache) CreateWatch(*cache.Request, cache.Subscription, chan cache.Response) (func(), error) {
	return nil, grpcstatus.Errorf(codes.Unimplemented, "%s is served by delta discovery only", c.typeURL)
}

// Fetch refuses as CreateWatch does.
func (c *deltaCache) Fetch(context.Context, *cache.Request) (cache.Response, error) {
	return nil, grpcstatus.Errorf(codes.Unimplemented, "%s is served by delta discovery only", c.typeURL)
}

// answer wraps content, which clients may share, for one of them.
func (c *deltaCache) answer(r *cache.DeltaRequest, what *content) cache.DeltaResponse {
	at := strconv.FormatUint(c.head(), 10)
	return &deltaAnswer{request: r, at: at, message: c.message(what, at)}
}

// deltaAnswer is a cache.DeltaResponse.
type deltaAnswer struct {
	request *cache.DeltaRequest
	message *discoveryv3.DeltaDiscoveryResponse
	at      string // the client's place in the log once it has the message
}

func (a *deltaAnswer) GetDeltaDiscoveryResponse() (*discoveryv3.DeltaDiscoveryResponse, error) {
	return a.message, nil
}
func (a *deltaAnswer) GetDeltaRequest() *discoveryv3.DeltaDiscoveryRequest { return a.request }
func (a *deltaAnswer) GetSystemVersion() (string, error)                   { return a.at, nil }
func (a *deltaAnswer) GetResponseVersion() string                          { return a.at }
func (a *deltaAnswer) GetNextVersionMap() map[string]string                { return a.GetReturnedResources() }
func (a *deltaAnswer) GetReturnedResources() map[string]string             { return map[string]string{place: a.at} }
func (a *deltaAnswer) GetContext() context.Context                         { return context.Background() }
