package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

func (m *mesh) patch(p *model.EnvoyPatch) {
	a := &model.Attachment{Kind: "EnvoyPatch", Namespace: "shop", Name: "patch", Target: model.Target{Service: key}, Patch: p}
	delete(m.snap.Attachments, a.Key())
	if p != nil {
		m.snap.Attachments[a.Key()] = a
	}
}

func routePatch(operations string) *model.EnvoyPatch {
	return &model.EnvoyPatch{Patches: []model.ResourcePatch{{Type: "RouteConfiguration", Operations: operations}}}
}

const addHeader = `[{"op": "add", "path": "/virtual_hosts/0/response_headers_to_add/0", "value": {"header": {"key": "x-patched", "value": %q}}}]`

// A patch acts; one that Envoy refuses leaves the last good one in force, without a request that fails.
func TestEnvoyPatch(t *testing.T) {
	m := newMeshIsolated(t)
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	m.patch(routePatch(fmt.Sprintf(addHeader, "yes")))
	m.publish()
	m.answers(200, "X-Patched", "yes")
	m.settled()

	stop := m.hammer()
	// Only Envoy finds fault with this: a command that it does not know.
	m.patch(routePatch(fmt.Sprintf(addHeader, "%NOSUCH(x)%")))
	m.publish()
	m.eventually("the patch is named", func() error {
		p := m.iso.Problems()
		if len(p) != 1 || p[0].Source.Kind != "EnvoyPatch" || !strings.Contains(p[0].Message, "last good") {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	m.answers(200, "X-Patched", "yes")
	m.statusIs(200, m.client.HTTP(t, "10.96.0.2:80"), "GET", "/")
	if n, failed := stop(); failed > 0 || n == 0 {
		t.Errorf("%d of %d requests failed", failed, n)
	}
	m.patch(&model.EnvoyPatch{Filters: []string{`{"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 10}`}})
	m.publish()
	m.eventually("a request that is too large is refused", func() error {
		res, err := m.http.Post("http://cart/", "text/plain", strings.NewReader(strings.Repeat("x", 100)))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != 413 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	})
}

// hammer sends requests until it is stopped, and counts.
func (m *mesh) hammer() (stop func() (n, failed int)) {
	quit, done := make(chan struct{}), make(chan struct{})
	var n, failed int
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			code, _, _, err := ask(m.http, "GET", "/")
			n++
			if err != nil || code != 200 {
				failed++
			}
		}
	}()
	return func() (int, int) { close(quit); <-done; return n, failed }
}
