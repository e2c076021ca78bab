package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// A session stays at the endpoint that began it, and moves when that is gone.
func TestSessionPersistence(t *testing.T) {
	m := newMesh(t)
	for range 3 {
		m.pod("cart", pods)
	}
	b := []model.Backend{backend(key, 1)}
	m.route("session",
		model.RouteRule{Matches: path(model.PathPrefix, "/header"), Session: &model.Session{Header: "x-session"}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/day"), Session: &model.Session{Cookie: "day", TTL: 24 * time.Hour}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/cookie"), Session: &model.Session{Cookie: "shop"}, Backends: b})
	m.publish()
	var began string
	var token []string
	begin := func(p string, of func(http.Header) []string) {
		t.Helper()
		m.eventually(p+" begins a session", func() error {
			code, e, h, err := ask(m.http, "GET", p)
			if token = of(h); err != nil || code != 200 || token == nil {
				return fmt.Errorf("%d %v %w", code, h, err)
			}
			began = e.Pod
			return nil
		})
	}
	stays := func(p string) {
		t.Helper()
		if by := m.spread(20, m.http, p, token...); by[began] != 20 {
			t.Errorf("%s: the session began at %s and goes on at %v", p, began, by)
		}
	}
	cookie := func(name string, maxAge int) func(http.Header) []string {
		return func(h http.Header) []string {
			for _, c := range (&http.Response{Header: h}).Cookies() {
				if c.Name == name && c.MaxAge == maxAge && c.HttpOnly && c.Path == "/" {
					return []string{"Cookie", c.Name + "=" + c.Value}
				}
			}
			return nil
		}
	}
	begin("/day", cookie("day", 86400))
	stays("/day")
	begin("/header", func(h http.Header) []string {
		if v := h.Get("X-Session"); v != "" {
			return []string{"X-Session", v}
		}
		return nil
	})
	stays("/header")
	begin("/cookie", cookie("shop", 0))
	stays("/cookie")
	m.eventually("who has no session may go anywhere", func() error {
		if by := m.spread(20, m.http, "/cookie"); len(by) < 2 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	w := *m.snap.Workloads.Get("test//Pod/shop/" + began)
	w.Unhealthy = true
	m.snap.Workloads.Set(w.UID, &w)
	m.publish()
	m.eventually("the session moves on", func() error {
		if by := m.spread(10, m.http, "/cookie", token...); by[began] != 0 || by["503"] != 0 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
}
