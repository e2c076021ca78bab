package xds

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// checked is a mesh of cart-1 on n1 and cart-2 on n2, checked, and db-1 on n1, which nobody checks.
func checked() *model.Snapshot {
	s := model.NewSnapshot()
	cart := &model.Service{Namespace: "shop", Hostname: "cart", Probes: []model.Probe{{}}}
	db := &model.Service{Namespace: "shop", Hostname: "db"}
	s.Services[cart.Key()], s.Services[db.Key()] = cart, db
	for uid, w := range map[string]*model.Workload{"cart-1": {Node: "n1"}, "cart-2": {Node: "n2"}, "db-1": {Node: "n1"}} {
		w.UID, w.Services = uid, map[string][]model.Port{cart.Key(): nil}
		if uid == "db-1" {
			w.Services = map[string][]model.Port{db.Key(): nil}
		}
		s.Workloads.Set(uid, w)
	}
	return s
}

func marked(h *HealthReports) (out []string) {
	s := checked()
	h.Apply(s)
	for _, uid := range []string{"cart-1", "cart-2", "db-1"} {
		if s.Workloads.Get(uid).Unhealthy {
			out = append(out, uid)
		}
	}
	return out
}

func report(node string, uids ...string) *weftv1.HealthReport {
	return &weftv1.HealthReport{Node: node, Unhealthy: uids}
}

func asCaller(ctx context.Context, account, node string) context.Context {
	return ca.WithCaller(ctx, ca.Caller{Namespace: "weft-system", ServiceAccount: account, Node: node})
}

// Over the wire: a node's ztunnel is believed about its own pods that somebody wants checked.
func TestHealthReport(t *testing.T) {
	h := NewHealthReports("weft-system/weft-ztunnel", nil)
	r := newRig(t)
	_, at, _ := r.serve(t, anyPort, Options{Register: []func(grpc.ServiceRegistrar){h.Register}})
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	if err := subscribe.ReportHealth(t.Context(), conn, "n1", []string{"db-1", "cart-2", "cart-1", "nosuch"}); err != nil {
		t.Fatal(err)
	}
	if got := marked(h); len(got) != 1 || got[0] != "cart-1" {
		t.Errorf("marked %v, want cart-1", got)
	}
	select {
	case <-h.Changed():
	default:
		t.Error("nobody was told")
	}
	if err := subscribe.ReportHealth(t.Context(), conn, "n2", []string{"cart-2"}); grpcstatus.Code(err) != codes.PermissionDenied {
		t.Errorf("spoke for another node: %v", err)
	}
	if err := subscribe.ReportHealth(t.Context(), conn, "n1", nil); err != nil {
		t.Fatal(err)
	}
	if got := marked(h); got != nil {
		t.Errorf("still %v", got)
	}
}

func TestWhoMayReportHealth(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"nobody":           t.Context(),
		"another account":  asCaller(t.Context(), "weft-agent", "n1"),
		"another node":     asCaller(t.Context(), "weft-ztunnel", "n2"),
		"no node in token": asCaller(t.Context(), "weft-ztunnel", ""),
	} {
		h := NewHealthReports("weft-system/weft-ztunnel", nil)
		if _, err := h.report(ctx, report("n1", "cart-1")); grpcstatus.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
		if got := marked(h); got != nil {
			t.Errorf("%s: marked %v", name, got)
		}
	}
}

// What nobody repeats is forgotten, and then said.
func TestHealthReportsExpire(t *testing.T) {
	now := time.Unix(1000, 0)
	h := NewHealthReports("weft-system/weft-ztunnel", func() time.Time { return now })
	ctx := asCaller(t.Context(), "weft-ztunnel", "n1")
	say := func() {
		if _, err := h.report(ctx, report("n1", "cart-1")); err != nil {
			t.Fatal(err)
		}
	}
	say()
	<-h.Changed()
	now = now.Add(wire.HealthLife - 1)
	say() // again
	select {
	case <-h.Changed():
		t.Error("nothing has changed")
	default:
	}
	now = now.Add(wire.HealthLife - 1)
	h.Expire()
	if got := marked(h); len(got) != 1 {
		t.Errorf("marked %v, it was repeated", got)
	}
	now = now.Add(1)
	h.Expire()
	if got := marked(h); got != nil {
		t.Errorf("marked %v for ever", got)
	}
	<-h.Changed()
}
