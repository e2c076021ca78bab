package direct

import (
	"net/netip"
	"time"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/pod"
)

// conn is one direct connection, told of as the proxies at both its ends would.
type conn struct {
	pair    kernel.Pair
	out, in *flow.Flow
}

func (c *conn) each(f func(*flow.Flow)) {
	f(c.out)
	f(c.in)
}

func (c *conn) kill(cause *flow.Failure) { c.each(func(f *flow.Flow) { f.Kill(cause) }) }

func moved() *flow.Failure {
	return &flow.Failure{Flag: telemetry.FlagDuration, Cause: "one of the pods may not talk directly any more",
		Hint: "it left the mesh, its address went to another pod, or weft.dev/same-node=encrypt was set for its namespace"}
}

func notReached(dst netip.AddrPort) *flow.Failure {
	return &flow.Failure{Flag: telemetry.FlagConnectFailure, Cause: "cannot connect to the application at " + dst.String(),
		Hint: "nothing listens there: the application is not up, listens on another port or only on another address"}
}

// event takes in one event. t.mu is held.
func (t *Table) event(e kernel.Event) {
	c := t.conns[e.Socket]
	if c == nil {
		if c = t.conn(e); c == nil {
			return
		}
		c.each(t.o.Flows.Open)
		if e.Kind != kernel.Failed {
			c.each((*flow.Flow).Established)
		}
		t.conns[e.Socket] = c
	}
	if e.Kind == kernel.Opened {
		return
	}
	delete(t.conns, e.Socket)
	c.each(func(f *flow.Flow) {
		f.Sent.Store(e.Sent)
		f.Received.Store(e.Received)
		if e.Kind == kernel.Failed {
			f.End(notReached(e.Remote))
			return
		}
		f.End(nil)
	})
}

// conn describes a connection; nil: its pods are gone. t.mu is held.
func (t *Table) conn(e kernel.Event) *conn {
	from := t.pods[e.NS]
	ns, _ := t.kernel.At(e.Remote.Addr())
	to := t.pods[ns]
	if from == nil || to == nil {
		return nil
	}
	fw, tw := t.o.State.PodByKey(from.Key()), t.o.State.PodByKey(to.Key())
	if fw == nil || tw == nil {
		return nil
	}
	start := time.Now().Add(e.At - kernel.Now())
	host := e.Remote
	service, port := flow.ServiceOf(t.o.State.ServiceByHostname, tw, e.Remote.Port())
	if e.Dialled.IsValid() {
		host = e.Dialled
		if s := t.o.State.ServiceByVIP(host.Addr()); s != nil {
			service, port = s, host.Port()
		}
	}
	make := func(of *pod.Pod, d flow.Direction, reporter telemetry.Reporter) *flow.Flow {
		f := &flow.Flow{Pod: of.Key(), PodUID: of.UID, Direction: d, Start: start, Host: host,
			Source: end(fw, e.Local, from.Identity), Dest: end(tw, e.Remote, to.Identity),
			Labels: &telemetry.Labels{Reporter: reporter, Security: telemetry.SecuritySameNode, Source: from.Labels(fw), Destination: to.Labels(tw)}}
		f.SetService(service)
		f.OnKill(func() {
			// Not under the table's lock, which the caller may have: nothing of it is needed.
			_ = from.Space.DestroyConn(e.Local, e.Remote)
			_ = to.Space.DestroyConn(e.Remote, e.Local)
		})
		return f
	}
	c := &conn{pair: kernel.PairOf(e.NS, ns, e.Remote),
		out: make(from, flow.Outbound, telemetry.ReporterSource), in: make(to, flow.Inbound, telemetry.ReporterDestination)}
	t.o.Flows.Trace(c.out, "")
	t.o.Flows.Sample(c.out, service, port)
	t.o.Flows.Trace(c.in, c.out.Trace.Header())
	return c
}

func end(w *model.Workload, at netip.AddrPort, id identity.Identity) telemetry.End {
	return flow.EndOf(w, at, id)
}
