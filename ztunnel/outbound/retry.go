package outbound

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/fault"
	"github.com/weftmesh/weft/ztunnel/flow"
)

const (
	// maxTries is how many endpoints one connection is offered to.
	maxTries = 3
	// tryTimeout bounds a try while there is somebody else to ask; the last one has dialTimeout.
	tryTimeout = 3 * time.Second
)

// tries leads a connection from an endpoint whose node cannot be reached to another one. It is a Mesh
// without the endpoints that were tried.
type tries struct {
	Mesh
	failed []*model.Workload
	drawn  []*model.Workload // the kernel would have taken these
	fault  fault.Plan
	moving bool     // the connection is in a tunnel, and ends without us
	ends   []func() // what is to be done when it is over
	over   func()   // and then
}

func (t *tries) atEnd(f func()) { t.ends = append(t.ends, f) }

// release does what was put off, the last first, down to the first n.
func (t *tries) release(n int) {
	lastFirst(t.ends[n:])
	t.ends = t.ends[:n]
}

func lastFirst(ends []func()) {
	for i := len(ends) - 1; i >= 0; i-- {
		ends[i]()
	}
}

// end is the end of the connection.
func (t *tries) end(f *flow.Flow, failure *flow.Failure) {
	t.release(0)
	f.End(failure)
	t.over()
}

// whenOver is what a tunnel calls at the end of the connection that it moves. It keeps nothing else of t, for it may be
// long until then.
func (t *tries) whenOver(f *flow.Flow) func(error) {
	ends, over := slices.Clone(t.ends), t.over
	return func(err error) {
		lastFirst(ends)
		f.Over(err)
		over()
	}
}

// Pick is of Mesh.
func (t *tries) Pick(s *model.Service, how *model.Carriage, client *model.Workload, candidates []*model.Workload) *model.Workload {
	rest := slices.DeleteFunc(slices.Clone(candidates), func(w *model.Workload) bool { return slices.Contains(t.failed, w) })
	if len(t.drawn) > 0 {
		others := slices.DeleteFunc(slices.Clone(rest), func(w *model.Workload) bool { return slices.Contains(t.drawn, w) })
		if w := t.Mesh.Pick(s, how, client, others); w != nil {
			return w
		}
	}
	return t.Mesh.Pick(s, how, client, rest)
}

// timeout is how long r may take to connect.
func (t *tries) timeout(r Route) time.Duration {
	limit := dialTimeout
	if r.Others && len(t.failed)+1 < maxTries {
		limit = tryTimeout
	}
	if r.Carriage != nil && r.Carriage.Connect > 0 {
		limit = r.Carriage.Connect
	}
	return limit
}

// next is where to go after r failed with f, if anywhere: only when no tunnel could be made, so that
// nothing of the connection has been seen by anybody. An answer, above all a policy's, is final.
func (t *tries) next(client *model.Workload, dst netip.AddrPort, r Route, f *flow.Failure) (Route, bool) {
	if f == nil || r.Kind != Tunnel || !unreached(f) || len(t.failed)+1 >= maxTries {
		return Route{}, false
	}
	t.failed = append(t.failed, r.end())
	n := Decide(t, client, dst)
	if n.Kind == Refuse || slices.Contains(t.failed, n.end()) {
		return Route{}, false // nobody else, or the client named this very pod
	}
	return n, true
}

// end is the workload that a route connects to.
func (r Route) end() *model.Workload {
	if r.Waypoint != nil {
		return r.Waypoint
	}
	return r.Dest
}

// unreached reports that the tunnel's end did not take the connection.
func unreached(f *flow.Failure) bool {
	return errors.Is(f, hbone.ErrDial) || errors.Is(f, hbone.ErrHandshake) || errors.Is(f, hbone.ErrTimeout)
}
