package state

import (
	"net/netip"
	"sync"
	"time"
)

// goneFor is how long the address of a pod of the mesh, or of a Service, is still known for one after it is gone.
// Until then clients may have it from DNS, kube-proxy may still send it somewhere, and somebody else may have got it
// already of whom the controller has not told: to pass such a connection on in clear text, as one to an address
// outside of the mesh, is wrong.
const goneFor = 2 * time.Minute

// gone remembers addresses that were the mesh's.
type gone struct {
	now func() time.Time

	mu   sync.RWMutex
	were map[netip.Addr]former
	next time.Time // when to look for those that are to be forgotten
}

// former had an address.
type former struct {
	name  string
	until time.Time
}

func newGone() gone { return gone{now: time.Now, were: map[netip.Addr]former{}} }

// note remembers addresses of what is about to be removed.
func (g *gone) note(name string, addrs []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.After(g.next) {
		for a, f := range g.were {
			if now.After(f.until) {
				delete(g.were, a)
			}
		}
		g.next = now.Add(goneFor)
	}
	for _, a := range addrs {
		g.were[a.Unmap()] = former{name, now.Add(goneFor)}
	}
}

// Gone names the pod of the mesh, or the Service, that had an address until some two minutes ago, or "". Whoever has
// the address now is to be looked for first.
func (s *State) Gone(a netip.Addr) string {
	g := &s.gone
	g.mu.RLock()
	defer g.mu.RUnlock()
	f, ok := g.were[a.Unmap()]
	if !ok || g.now().After(f.until) {
		return ""
	}
	return f.name
}
