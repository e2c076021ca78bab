package balance

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// ejections are endpoints of services that could not be connected to, each service's apart.
type ejections struct {
	now func() time.Time
	n   atomic.Int32 // entries of all, so that nobody need ask for the lock while there are none

	mu  sync.Mutex                     // protects what follows
	all map[string]map[string]*illness // by service key, workload uid
}

// illness of one endpoint.
type illness struct {
	failures uint32    // in a row, since the last ejection
	times    int       // that it was ejected
	until    time.Time // ejected; zero: never was
	last     time.Time // failure
}

// forgetAfter is how long an endpoint is remembered after its last failure, at most.
const forgetAfter = time.Hour

// Report says how a connection to an endpoint of a service came out: ok if it was made. It returns for how long the
// endpoint is ejected because of that, 0 if it is not. total is how many healthy endpoints the service has.
func (b *Balancer) Report(svc *model.Service, w *model.Workload, o *model.Outliers, total int, ok bool) time.Duration {
	if ok && !b.ill.some() {
		return 0
	}
	return b.ill.report(svc.Key(), w.UID, o, total, ok)
}

// Ejected counts the endpoints that are out now.
func (b *Balancer) Ejected() int {
	e := &b.ill
	e.mu.Lock()
	defer e.mu.Unlock()
	n, now := 0, e.now()
	for _, of := range e.all {
		n += ejected(of, now)
	}
	return n
}

func (e *ejections) some() bool { return e.n.Load() > 0 }

// out reports that an endpoint is ejected.
func (e *ejections) out(service, uid string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.all[service][uid]
	return x != nil && e.now().Before(x.until)
}

func (e *ejections) report(service, uid string, o *model.Outliers, total int, ok bool) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	x := e.all[service][uid]
	switch {
	case ok && x == nil:
		return 0
	case ok:
		x.failures = 0
		if now.Sub(x.until) >= length(x.times, o) { // well for as long as it was out
			e.remove(service, uid)
		}
		return 0
	case x == nil:
		e.sweep(service, now)
		x = e.add(service, uid)
	}
	if now.Before(x.until) {
		return 0 // a connection from before
	}
	x.last = now
	if x.failures++; x.failures < o.ConnectFailures || !mayEject(ejected(e.all[service], now), total, o.MaxPercent) {
		return 0
	}
	x.failures, x.times = 0, x.times+1
	d := length(x.times, o)
	x.until = now.Add(d)
	return d
}

// length of the n-th ejection.
func length(n int, o *model.Outliers) time.Duration {
	return min(time.Duration(n)*o.BaseEjection, max(o.MaxEjection, o.BaseEjection))
}

// mayEject reports that one more may go. One may, whatever the percentage, but somebody always stays.
func mayEject(out, total int, percent uint32) bool {
	return out+1 < total && (out == 0 || (out+1)*100 <= int(percent)*total)
}

func ejected(of map[string]*illness, now time.Time) (n int) {
	for _, x := range of {
		if now.Before(x.until) {
			n++
		}
	}
	return n
}

// sweep forgets endpoints of a service that are gone, perhaps.
func (e *ejections) sweep(service string, now time.Time) {
	for uid, x := range e.all[service] {
		if now.Sub(x.last) > forgetAfter && now.After(x.until) {
			e.remove(service, uid)
		}
	}
}

func (e *ejections) add(service, uid string) *illness {
	if e.all == nil {
		e.all = map[string]map[string]*illness{}
	}
	if e.all[service] == nil {
		e.all[service] = map[string]*illness{}
	}
	x := &illness{}
	e.all[service][uid] = x
	e.n.Add(1)
	return x
}

func (e *ejections) remove(service, uid string) {
	delete(e.all[service], uid)
	if len(e.all[service]) == 0 {
		delete(e.all, service)
	}
	e.n.Add(-1)
}
