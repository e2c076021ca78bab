package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/ztunnel/admin"
)

// lacking is the agent of a node whose kernel cannot do it: it enrols nothing, is never ready, says why on every
// pod that is to be in the mesh, and refuses the start of such pods rather than let them speak in the clear.
type lacking struct {
	*agent
	why  error
	told map[string]bool // pods by UID
}

// lack runs in place of serve.
func (a *agent) lack(ctx context.Context, why error) error {
	a.log.Error("this node cannot be in the mesh; its pods are not enrolled", zap.Error(why))
	l := &lacking{agent: a, why: why, told: map[string]bool{}}
	if a.c.cniSocket != "" { // before the watch begins, which leaves what it reads to the installer
		a.starter = &starter{client: a.client.CoreV1(), watch: a.watch, finder: a.finder, refuse: why, log: a.log.Named("cni")}
		a.meterCNI()
		if err := a.prepareCNI(); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		first := true
		return a.watch.source.Run(ctx, func(o *source.Objects, problems []source.Problem) {
			a.watch.show(o)
			for _, f := range a.watch.before {
				f(o)
			}
			l.tell(enroll.Decide(a.c.node, stateOf(o, problems)))
			if first {
				first = false
				close(a.watch.known)
			}
		})
	})
	if a.c.metrics != "" && a.c.metrics != "off" {
		listener, err := net.Listen("tcp", a.c.metrics)
		if err != nil {
			return fmt.Errorf("--metrics-addr: %w (is another agent running on this node?)", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", admin.MetricsHandler(a.metrics))
		mux.Handle("GET /ready", admin.ReadyHandler(func() error { return why }))
		g.Go(func() error { return admin.Serve(ctx, listener, mux) })
	}
	if a.c.cniSocket != "" {
		g.Go(func() error { return a.serveCNI(ctx) })
		if a.install != nil {
			g.Go(func() error { return a.installCNI(ctx) })
		}
	}
	defer a.events.Close()
	return g.Wait()
}

// tell says it once of each pod.
func (l *lacking) tell(decisions []enroll.Decision) {
	now := map[string]bool{}
	for _, d := range decisions {
		if d.Verdict != enroll.Enrol {
			continue
		}
		if now[d.Pod.UID] = true; !l.told[d.Pod.UID] {
			l.events.Tell(d.Pod, true, enroll.ReasonNotEnrolled, refusal(l.why))
		}
	}
	l.told = now
}

func refusal(why error) string {
	return fmt.Sprintf("this node cannot be in the mesh: %v. Run the pod on another node, or label it weft.dev/dataplane-mode=none", why)
}
