package e2e

import (
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// A fault for some callers does not touch others.
func TestFaultOfCallers(t *testing.T) {
	m := newMesh(t)
	status := func(n uint32, from ...model.CallerMatch) model.FaultRule {
		return model.FaultRule{AbortPercent: 100, AbortStatus: n, From: from}
	}
	f := &model.Fault{Namespace: "shop", Name: "f", Target: model.Target{Service: key}, Rules: []model.FaultRule{
		status(501, model.CallerMatch{ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "third"}}}),
		status(502, model.CallerMatch{Namespaces: []string{"oth", "shop.x"}}, model.CallerMatch{Namespaces: []string{"other"}}),
		status(503, model.CallerMatch{Namespaces: []string{"other"}, ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "frontend"}}}),
	}}
	m.snap.Faults[f.Key()+"@"+f.Target.String()] = f
	if problems := m.publish(); len(problems) > 0 {
		t.Fatal(problems)
	}
	m.statusIs(502, m.caller(other).HTTP(t, vip), "GET", "/")
	m.statusIs(501, m.caller("spiffe://cluster.local/ns/shop/sa/third").HTTP(t, vip), "GET", "/")
	m.statusIs(200, m.http, "GET", "/")
}
