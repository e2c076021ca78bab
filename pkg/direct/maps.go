package direct

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Pair is a way from one pod to a port of another. As struct pair in bpf/src/direct.h.
type Pair struct {
	From, To uint64 // cookies of the pods' network namespaces
	Port     uint32
	Family   uint32 // AF_INET or AF_INET6
}

// PairOf makes the pair for a connection to an address.
func PairOf(from, to uint64, dst netip.AddrPort) Pair {
	p := Pair{From: from, To: to, Port: uint32(dst.Port()), Family: unix.AF_INET6}
	if dst.Addr().Unmap().Is4() {
		p.Family = unix.AF_INET
	}
	return p
}

// Has reports whether an address is of the pair's family.
func (p Pair) Has(a netip.Addr) bool { return a.Is4() == (p.Family == unix.AF_INET) }

// Ident is a pod that may talk directly. As struct ident.
type Ident struct {
	NS       uint64 // cookie of its network namespace
	Ifindex  uint32 // host's end of its veth, where packets are to be handed straight into the pod; 0: the node forwards them
	Reserved uint32
}

// permit is struct permit.
type permit struct{ Used uint64 }

// Names of the maps that are handed over, in that order.
const (
	MapAllow    = "allow"
	MapIdents   = "idents"
	MapServices = "services"
	MapLease    = "lease"
	MapEvents   = "events"
)

// mapNames is what a ztunnel needs.
var mapNames = []string{MapAllow, MapIdents, MapServices, MapLease, MapEvents}

// ErrFull: no more pairs fit; what does not goes by the proxy.
var ErrFull = errors.New("the kernel's table of direct pairs is full")

// Maps are the kernel's maps in the hands of the one ztunnel that may write them.
type Maps struct {
	allow, idents, services, lease *ebpf.Map
	ring                           *ebpf.Map
	events                         *ringbuf.Reader
}

// Open takes maps by name; they are the result's, also on an error.
func Open(maps map[string]*ebpf.Map) (*Maps, error) {
	m := &Maps{allow: maps[MapAllow], idents: maps[MapIdents], services: maps[MapServices], lease: maps[MapLease], ring: maps[MapEvents]}
	for _, name := range mapNames {
		if maps[name] == nil {
			return nil, errors.Join(fmt.Errorf("the agent gave no map %q", name), m.Close())
		}
	}
	if m.allow.KeySize() != 24 || m.idents.KeySize() != 16 || m.idents.ValueSize() != 16 || m.services.KeySize() != 32 || m.services.ValueSize() != 8+20*MostEndpoints {
		return nil, errors.Join(errors.New("the agent's maps are laid out otherwise (agent and ztunnel of different versions)"), m.Close())
	}
	r, err := ringbuf.NewReader(m.ring)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("events of direct connections: %w", err), m.Close())
	}
	m.events = r
	return m, nil
}

// Close releases the descriptors; what is permitted stays so until the lease is over.
func (m *Maps) Close() error {
	var errs []error
	if m.events != nil {
		errs = append(errs, m.events.Close())
	}
	for _, x := range []*ebpf.Map{m.allow, m.idents, m.services, m.lease, m.ring} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

// Permit opens a way. It may be ErrFull.
func (m *Maps) Permit(p Pair) error {
	err := m.allow.Update(p, permit{}, ebpf.UpdateNoExist)
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		return nil
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
		return ErrFull
	case err != nil:
		return fmt.Errorf("permit a direct way: %w", err)
	}
	return nil
}

// Forbid closes it at once, for packets of open connections too.
func (m *Maps) Forbid(p Pair) error {
	if err := m.allow.Delete(p); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forbid a direct way: %w", err)
	}
	return nil
}

// Pairs lists what is permitted.
func (m *Maps) Pairs() (out []Pair, err error) {
	var p Pair
	var v permit
	it := m.allow.Iterate()
	for it.Next(&p, &v) {
		out = append(out, p)
	}
	return out, it.Err()
}

// At returns the namespace of the pod that has an address and may talk directly; false: none.
func (m *Maps) At(a netip.Addr) (ns uint64, ok bool) {
	var id Ident
	if err := m.idents.Lookup(a.As16(), &id); err != nil {
		return 0, false
	}
	return id.NS, true
}

// Renew moves the end of the lease to now + d; 0 ends it.
func (m *Maps) Renew(d time.Duration) error {
	until := uint64(0)
	if d > 0 {
		until = uint64(Now() + d)
	}
	if err := m.lease.Put(uint32(0), until); err != nil {
		return fmt.Errorf("renew the lease of the direct path: %w", err)
	}
	return nil
}

// Now is the kernel's clock that its programs read: time since boot, without sleep.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // never: the clock exists and ts is ours
	}
	return time.Duration(ts.Nano())
}

// Read calls fn with the events that have come since the last time, and waits for none.
func (m *Maps) Read(fn func(Event)) error {
	m.events.SetDeadline(time.Now().Add(-time.Second))
	var rec ringbuf.Record
	for {
		err := m.events.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events of direct connections: %w", err)
		}
		if e, ok := parse(rec.RawSample); ok {
			fn(e)
		}
	}
}
