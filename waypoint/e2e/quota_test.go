package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// aDay is a quota of the tenants of a plan.
func aDay(n uint32, plan string) model.LimitRule {
	return model.LimitRule{
		Requests: n, Per: 24 * time.Hour, By: []model.LimitKey{{Type: model.LimitHeader, Name: "x-tenant"}},
		Match: &model.RouteMatch{Headers: []model.NameMatch{{Name: "x-plan", Value: plan}}},
	}
}

// A day's quota of each tenant, by plan, is one for all waypoints, outlives them, and says when it is full again.
func TestQuotas(t *testing.T) {
	l := newLimiter(t)
	one := quotaMesh(t, l)
	for {
		day := today()
		wrong := quotasOf(l, one, strconv.FormatInt(day.Unix(), 10))
		if today().Equal(day) {
			for _, w := range wrong {
				t.Error(w)
			}
			return
		}
		t.Log("the day has changed, and with it all quotas: once more")
	}
}

func today() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }

func quotaMesh(t *testing.T, l *limiter) *mesh {
	m := newMesh(t)
	l.join(m)
	m.limit("plans", model.RateLimit{Headers: true, Global: together(false), Rules: []model.LimitRule{aDay(5, "free"), aDay(8, "gold")}})
	m.eventually("the quotas are in force", func() error {
		status, _, h, err := ask(m.http, "GET", "/", "x-plan", "gold", "x-tenant", "probe")
		if err == nil && h.Get("RateLimit-Limit") == "" {
			err = fmt.Errorf("status %d, headers %v", status, h)
		}
		return err
	})
	return m
}

// quotasOf says what is wrong with those of a tenant.
func quotasOf(l *limiter, one *mesh, tenant string) (wrong []string) {
	expect := func(what string, got, want any) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", what, got, want))
		}
	}
	passed := func(m *mesh, n int, header ...string) int { return m.passed(n, m.http, "GET", "/", header...) }
	free, gold := []string{"x-plan", "free", "x-tenant", tenant}, []string{"x-plan", "gold", "x-tenant", tenant + "g"}
	status, _, h, err := ask(one.http, "GET", "/", free...)
	expect("the first call", fmt.Sprint(status, err, h.Get("RateLimit-Limit"), h.Get("RateLimit-Remaining")), fmt.Sprint(200, nil, "5, 5;w=86400", "4"))
	expect("the day is over when it is full again", fullAgain(h.Get("RateLimit-Reset")), true)
	expect("more of the plan free", passed(one, 5, free...), 4)
	_, _, h, _ = ask(one.http, "GET", "/", free...)
	expect("who is refused hears when to come back", fullAgain(h.Get("Retry-After")), true)
	later := quotaMesh(one.t, l) // as after an update of the waypoint
	expect("free through a new waypoint", passed(later, 2, free...), 0)
	expect("gold through both", passed(later, 5, gold...)+passed(one, 5, gold...), 8)
	expect("without a plan, which no rule counts", passed(one, 10, "x-tenant", tenant), 10)
	return wrong
}

// fullAgain reports whether it is the end of the day that a header tells, give or take what a slow machine needs.
func fullAgain(header string) bool {
	n, err := strconv.Atoi(header)
	left := time.Until(today().Add(24 * time.Hour))
	return err == nil && (time.Duration(n)*time.Second-left).Abs() < time.Minute
}
