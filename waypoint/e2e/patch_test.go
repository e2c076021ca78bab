package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/launcher"
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

// fragile is the real Envoy, but for trials of what it must not survive.
func fragile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "envoy")
	text := fmt.Sprintf(`#!/bin/sh
if [ "$1 $2" = "--mode validate" ]; then
  if grep -q crash-me "$4"; then kill -SEGV $$; fi
  if grep -q hang-me "$4"; then exec sleep 1000; fi
fi
exec %s "$@"
`, testmesh.Binary(t))
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// dump is what the Envoy that serves has.
func (l *launched) dump() string {
	l.t.Helper()
	sockets, _ := filepath.Glob(filepath.Join(l.run, "*", bootstrap.AdminSocket))
	if len(sockets) != 1 {
		l.t.Fatalf("admin sockets: %v", sockets)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sockets[0])
	}}}
	var all strings.Builder
	for _, page := range []string{"/config_dump?include_eds", "/stats?filter=update_rejected|error_state"} {
		res, err := c.Get("http://envoy" + page)
		if err != nil {
			l.t.Fatal(err)
		}
		if _, err := io.Copy(&all, res.Body); err != nil {
			l.t.Fatal(err)
		}
		res.Body.Close()
	}
	return all.String()
}

func (l *launched) patch(p *model.EnvoyPatch) {
	l.t.Helper()
	a := &model.Attachment{Kind: "EnvoyPatch", Namespace: "shop", Name: "patch", Target: model.Target{Service: key}, Patch: p}
	next := *l.snap
	next.Attachments = map[string]*model.Attachment{a.Key(): a}
	l.publish(&next)
}

func (l *launched) says(header, want string) {
	l.t.Helper()
	testmesh.Eventually(l.t, 30*time.Second, fmt.Sprintf("answers have %s: %s", header, want), func() error {
		code, _, h, err := ask(l.http, "GET", "/")
		if err != nil {
			return err
		}
		if code != 200 || h.Get(header) != want {
			return fmt.Errorf("%d %q", code, h.Get(header))
		}
		return nil
	})
}

// trials waits for a number of trials with an end.
func (l *launched) trials(outcome string, n int) {
	l.t.Helper()
	want := fmt.Sprintf("weft_waypoint_patch_trials_total{outcome=%q} %d\n", outcome, n)
	testmesh.Eventually(l.t, 30*time.Second, want, func() error {
		res, err := http.Get("http://" + l.metrics + "/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); !strings.Contains(string(b), want) {
			return errors.New("not among the metrics")
		}
		return nil
	})
}

// problem waits until the patch's only problem says something; "" is none.
func (l *launched) problem(want string) {
	l.t.Helper()
	testmesh.Eventually(l.t, 90*time.Second, fmt.Sprintf("the patch's problem: %q", want), func() error {
		p := l.iso.Problems()
		switch {
		case want == "" && len(p) == 0:
			return nil
		case want != "" && len(p) == 1 && p[0].Source.Kind == "EnvoyPatch" && strings.Contains(p[0].Message, want):
			return nil
		}
		return fmt.Errorf("%v", p)
	})
}

// A patch is tried by an Envoy of its own; what is refused there, or crashes or hangs it, the Envoy that serves never sees:
// the last good patch stays in force, without a request that fails.
func TestEnvoyPatch(t *testing.T) {
	l := launch(t, fragile(t), func(o *launcher.Options) { o.TrialLimit = 30 * time.Second })
	l.answers("/", 200)
	l.patch(routePatch(fmt.Sprintf(addHeader, "yes")))
	l.says("X-Patched", "yes")
	l.problem("")
	l.trials("accepted", 1)

	stop := hammer(l.http)
	// Only Envoy finds fault with this: a command that it does not know.
	l.patch(routePatch(fmt.Sprintf(addHeader, "%NOSUCH(x)%")))
	l.problem("last good version stays in force, Envoy refuses this one: tried before it is served: Not supported field in StreamInfo: NOSUCH")
	l.trials("refused", 1)
	l.patch(routePatch(fmt.Sprintf(addHeader, "crash-me")))
	l.problem("Envoy crashes")
	l.trials("crashed", 1)
	l.patch(routePatch(fmt.Sprintf(addHeader, "hang-me")))
	l.problem("Envoy hangs: no verdict within")
	l.trials("hung", 1)
	l.says("X-Patched", "yes")
	if n, failed := stop(); failed > 0 || n == 0 {
		t.Errorf("%d of %d requests failed", failed, n)
	}
	dump := l.dump()
	if !strings.Contains(dump, "x-patched") {
		t.Error("the dump has nothing of patches")
	}
	for _, bad := range []string{"NOSUCH", "crash-me", "hang-me"} {
		if strings.Contains(dump, bad) {
			t.Errorf("the Envoy that serves has heard of %s", bad)
		}
	}
	for line := range strings.Lines(dump) {
		if strings.Contains(line, "update_rejected: ") && !strings.HasSuffix(line, ": 0\n") {
			t.Errorf("the Envoy that serves has refused something: %s", line)
		}
	}
	l.patch(&model.EnvoyPatch{Filters: []string{`{"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 10}`}})
	testmesh.Eventually(t, 10*time.Second, "a request that is too large is refused", func() error {
		res, err := l.http.Post("http://cart/", "text/plain", strings.NewReader(strings.Repeat("x", 100)))
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

// Where nothing tries a patch before, Envoy's own refusal still takes it back.
func TestEnvoyPatchUntried(t *testing.T) {
	m := newMeshIsolated(t)
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	m.patch(routePatch(fmt.Sprintf(addHeader, "yes")))
	m.publish()
	m.answers(200, "X-Patched", "yes")
	m.settled()
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
}

// hammer sends requests until it is stopped, and counts.
func hammer(c *http.Client) (stop func() (n, failed int)) {
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
			code, _, _, err := ask(c, "GET", "/")
			n++
			if err != nil || code != 200 {
				failed++
			}
		}
	}()
	return func() (int, int) { close(quit); <-done; return n, failed }
}
