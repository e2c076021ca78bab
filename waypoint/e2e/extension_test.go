package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// newMeshIsolated is newMesh with Envoy's refusals heard, as the controller hears them.
func newMeshIsolated(t *testing.T) *mesh {
	t.Helper()
	nacks, gone := make(chan testmesh.Nack, 64), make(chan struct{})
	t.Cleanup(func() { close(gone) })
	m := newMeshWith(t, func(e *testmesh.Envoy) {
		e.OnNack = func(n testmesh.Nack) {
			select {
			case nacks <- n:
			case <-gone:
			}
		}
	})
	go func() {
		for {
			select {
			case n := <-nacks:
				if err := m.iso.Nack(n.Type, n.Version, n.Message); err != nil {
					t.Error(err)
				}
			case <-gone:
				return
			}
		}
	}()
	return m
}

// extension puts an extension on service cart, or takes it off where x is nil.
func (m *mesh) extension(name string, x *model.Extension) {
	a := &model.Attachment{Kind: "Extension", Namespace: "shop", Name: name, Target: model.Target{Service: key}, Extension: x}
	delete(m.snap.Attachments, a.Key())
	if x != nil {
		m.snap.Attachments[a.Key()] = a
	}
}

// answers waits until requests to / are answered with a status and a header value.
func (m *mesh) answers(want int, header, value string) {
	m.t.Helper()
	m.eventually(fmt.Sprintf("answers are %d with %s: %q", want, header, value), func() error {
		code, _, h, err := ask(m.http, "GET", "/")
		if err != nil {
			return err
		}
		if got := strings.Join(h.Values(header), ","); code != want || got != value {
			return fmt.Errorf("%d with %s: %q", code, header, got)
		}
		return nil
	})
}

const (
	luaMark = `function envoy_on_request(h) h:headers():add("x-seen", "%s") end
function envoy_on_response(h) h:headers():add("x-lua", "%s") end`
	luaFine = `function envoy_on_response(h) h:headers():add("x-lua", "fine") end`
)

func TestLuaExtensionsInOrder(t *testing.T) {
	m := newMesh(t)
	listeners := func() string {
		_, stats := m.envoy.Admin("GET", "/stats?filter=listener_manager.listener_(added|modified|in_place_updated|removed)")
		return stats
	}
	before := listeners()
	m.extension("late", &model.Extension{Priority: 5, Lua: fmt.Sprintf(luaMark, "late", "late")})
	m.extension("early", &model.Extension{Priority: -5, Lua: fmt.Sprintf(luaMark, "early", "early")})
	m.publish()
	m.answers(200, "X-Lua", "late,early")
	if e := m.statusIs(200, m.http, "GET", "/"); strings.Join(e.Headers.Values("X-Seen"), ",") != "early,late" {
		t.Errorf("the application saw %v", e.Headers.Values("X-Seen"))
	}
	m.extension("late", nil)
	m.publish()
	m.answers(200, "X-Lua", "early")
	if after := listeners(); !strings.Contains(before, "listener_added") || after != before {
		t.Errorf("listeners were touched, which ends long-lived streams:\n%s%s", before, after)
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// A script that fails, or does not end, is refused or passed by, as it asks; the next request is none the worse.
func TestLuaFailures(t *testing.T) {
	m := newMesh(t)
	for _, c := range []struct {
		what, source     string
		closed, openLook int
	}{
		{"an error on the request", `function envoy_on_request(h) local x = nil; x.y = 1 end`, 500, 200},
		{"an error on the answer", `function envoy_on_response(h) error("no") end`, 500, 200},
		{"a loop", `function envoy_on_request(h) while true do end end`, 500, 200},
		{"a loop that catches its end", `function envoy_on_request(h) while true do pcall(function() while true do end end) end end`, 500, 200},
		{"a process", `function envoy_on_request(h) os.execute("true") end`, 500, 200},
		{"a file", `function envoy_on_request(h) io.open("/etc/passwd") end`, 500, 200},
		{"a module", `function envoy_on_request(h) require("ffi") end`, 500, 200},
		{"another's secrets", `function envoy_on_request(h) h:httpCall("launcher", {[":method"]="GET", [":path"]="/", [":authority"]="x"}, "", 100) end`, 500, 200},
		{"text that grows", `function envoy_on_request(h) ("x"):rep(1e9) end`, 500, 200},
		{"an answer of its own", `function envoy_on_request(h) h:respond({[":status"]="418"}, "tea") end`, 418, 418},
	} {
		t.Run(c.what, func(t *testing.T) {
			m.t = t
			m.extension("bad", &model.Extension{Lua: c.source})
			m.extension("marker", &model.Extension{Priority: -1, Lua: fmt.Sprintf(`function envoy_on_response(h) h:headers():add("x-lua", %q) end`, c.what)})
			m.publish()
			m.answers(c.closed, "X-Lua", c.what)
			m.extension("bad", &model.Extension{Lua: c.source, FailOpen: true})
			m.publish()
			m.answers(c.openLook, "X-Lua", c.what)
		})
	}
}

// What Envoy refuses is the affair of its target: closed there where it may not be missing, and the last good one
// stays where there was one.
func TestRefusedExtensionStaysAtItsTarget(t *testing.T) {
	m := newMeshIsolated(t)
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	m.extension("script", &model.Extension{Lua: `function envoy_on_request(h)`})
	start := time.Now()
	m.publish()
	m.answers(500, "X-Lua", "")
	hc := m.client.HTTP(t, "10.96.0.2:80")
	m.statusIs(200, hc, "GET", "/")
	m.eventually("the script is named", func() error {
		for _, p := range m.iso.Problems() {
			if p.Source.Name == "script" && strings.Contains(p.Message, "expected near") {
				return nil
			}
		}
		return fmt.Errorf("%v", m.iso.Problems())
	})
	t.Logf("named after %v", time.Since(start))
	m.extension("script", &model.Extension{Lua: luaFine})
	m.publish()
	m.answers(200, "X-Lua", "fine")
	m.settled()
	m.extension("script", &model.Extension{Lua: `function envoy_on_request(h) end end`})
	m.publish()
	m.eventually("the bad edit is named, and the last good one stays", func() error {
		p := m.iso.Problems()
		if len(p) != 1 || !strings.Contains(p[0].Message, "last good") {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	m.answers(200, "X-Lua", "fine")
	m.extension("script", nil)
	m.publish()
	m.answers(200, "X-Lua", "")
	m.extension("other", &model.Extension{Lua: `x = 1`, FailOpen: true})
	m.publish()
	m.eventually("a script without functions is named", func() error {
		p := m.iso.Problems()
		if len(p) != 1 || !strings.Contains(p[0].Message, "neither a function") {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	m.answers(200, "X-Lua", "")
}
