package fault

import (
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

var (
	now   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	front = identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "frontend"}
)

func from(ns, sa string) []model.CallerMatch {
	m := model.CallerMatch{Namespaces: []string{ns}}
	if sa != "" {
		m.ServiceAccounts = []model.ServiceAccountMatch{{Namespace: ns, ServiceAccount: sa}}
	}
	return []model.CallerMatch{m}
}

func TestChoose(t *testing.T) {
	all := model.ConnFault{Name: "shop/all", RefusePercent: 100}
	slow := model.ConnFault{Name: "shop/slow", DelayPercent: 100, Delay: time.Second, From: from("shop", "frontend")}
	ended := model.ConnFault{Name: "shop/ended", RefusePercent: 100, Until: now}
	half := model.ConnFault{Name: "shop/half", RefusePercent: 50}
	many := model.ConnFault{Name: "shop/many", DelayPercent: 100, Delay: 1, ResetPercent: 100, ResetAfter: 7, BandwidthPercent: 100, Bandwidth: 9}
	for name, c := range map[string]struct {
		faults []model.ConnFault
		roll   float64
		want   string
	}{
		"none":                           {nil, 0, ""},
		"everybody":                      {[]model.ConnFault{all}, 0.999, "shop/all refuse"},
		"the first that concerns me":     {[]model.ConnFault{slow, all}, 0, "shop/slow delay"},
		"another account":                {[]model.ConnFault{{Name: "x", RefusePercent: 100, From: from("shop", "cart")}}, 0, ""},
		"another namespace":              {[]model.ConnFault{{Name: "x", RefusePercent: 100, From: from("bank", "")}}, 0, ""},
		"one of several":                 {[]model.ConnFault{{Name: "x", RefusePercent: 100, From: append(from("bank", ""), from("shop", "")...)}}, 0, "x refuse"},
		"ended this instant":             {[]model.ConnFault{ended}, 0, ""},
		"ends later":                     {[]model.ConnFault{{Name: "x", RefusePercent: 100, Until: now.Add(1)}}, 0, "x refuse"},
		"an ended one hides nobody":      {[]model.ConnFault{ended, all}, 0, "shop/all refuse"},
		"below the percentage":           {[]model.ConnFault{half}, 0.499, "shop/half refuse"},
		"at the percentage":              {[]model.ConnFault{half}, 0.5, ""},
		"a miss does not go to the next": {[]model.ConnFault{half, all}, 0.5, ""},
		"all kinds":                      {[]model.ConnFault{many}, 0, "shop/many delay reset bandwidth"},
		"no percentage, no harm":         {[]model.ConnFault{{Name: "x", Delay: 1, Bandwidth: 1}}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := Choose(c.faults, front, now, func() float64 { return c.roll })
			if p.String() != c.want || p.Acts() != (c.want != "") {
				t.Errorf("got %q, want %q", p, c.want)
			}
		})
	}
}

func TestKindsAreRolledApart(t *testing.T) {
	rolls := []float64{0.9, 0.1, 0.9}
	p := Choose([]model.ConnFault{{Name: "x", DelayPercent: 50, Delay: 1, ResetPercent: 50, BandwidthPercent: 50, Bandwidth: 1}}, front, now, func() float64 {
		r := rolls[0]
		rolls = rolls[1:]
		return r
	})
	if !slices.Equal(p.Kinds(), []string{"reset"}) || !p.Slow() {
		t.Errorf("%v", p.Kinds())
	}
}

// Services without faults and faults of others cost a connection nothing.
func TestNothingIsAllocatedForThoseNotMeant(t *testing.T) {
	faults := []model.ConnFault{{Name: "x", RefusePercent: 100, From: from("bank", "teller")}}
	if n := testing.AllocsPerRun(100, func() {
		if Choose(faults, front, now, func() float64 { return 0 }).Acts() {
			t.Error("acts")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
