package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/launcher"
)

// modules are extensions of two services, cart and other, which lead to the same pod.
type modules struct {
	*launched
	other *http.Client
}

func (m *modules) publish(cart *model.Extension) {
	m.t.Helper()
	next := *m.snap
	other := *m.service
	other.Name, other.Hostname, other.Addresses = "other", "other.shop.svc.cluster.local", []netip.Addr{netip.MustParseAddr("10.96.0.2")}
	next.Services = map[string]*model.Service{m.service.Key(): m.service, other.Key(): &other}
	next.Workloads = m.snap.Workloads.Clone()
	for uid, w := range m.snap.Workloads.All() {
		both := *w
		both.Services = map[string][]model.Port{m.service.Key(): other.Ports, other.Key(): other.Ports}
		next.Workloads.Set(uid, &both)
	}
	next.Attachments = map[string]*model.Attachment{}
	for name, a := range map[string]*model.Attachment{
		"suspect": {Target: model.Target{Service: m.service.Key()}, Extension: cart},
		"fine":    {Target: model.Target{Service: other.Key()}, Extension: &model.Extension{Wasm: &model.Wasm{Code: module(m.t), Config: "fine"}}},
	} {
		a.Kind, a.Namespace, a.Name = "Extension", "shop", name
		next.Attachments[a.Key()] = a
	}
	m.launched.publish(&next)
}

// say waits for an answer of a service, with what its module adds.
func (m *modules) say(c *http.Client, code int, wasm string) {
	m.t.Helper()
	testmesh.Eventually(m.t, 90*time.Second, fmt.Sprintf("answers are %d by %q", code, wasm), func() error {
		got, h, err := askFor(c, 2*time.Second)
		if err == nil && (got != code || h.Get("X-Wasm") != wasm) {
			err = fmt.Errorf("%d %q", got, h.Get("X-Wasm"))
		}
		return err
	})
}

// askFor gives up after a while.
func askFor(c *http.Client, limit time.Duration) (int, http.Header, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cart/", nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header, err
}

// restarts waits until Envoy has been started anew so many times, and no more.
func (m *modules) restarts(n int) {
	m.t.Helper()
	want := fmt.Sprintf("weft_waypoint_envoy_restarts_total %d\n", n)
	testmesh.Eventually(m.t, 30*time.Second, want, func() error {
		res, err := http.Get("http://" + m.metrics + "/metrics")
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

// named waits until the suspect alone is named as what looped.
func (m *modules) named() {
	m.t.Helper()
	testmesh.Eventually(m.t, 180*time.Second, "the module is named", func() error {
		p := m.iso.Problems()
		if len(p) == 1 && p[0].Source.String() == "Extension/shop/suspect" && strings.Contains(p[0].Message, "looped, Envoy's watchdog ended the proxy while it ran") {
			return nil
		}
		_, _, _ = askFor(m.http, 500*time.Millisecond) // an answer that does not come
		return fmt.Errorf("%v", p)
	})
}

// A module that loops costs its waypoint one restart of Envoy. After that its own target answers for it, refused or let
// past as the object says, its neighbours serve on with their modules, and once it is mended it is in force.
func TestWasmLoopHitsItsTargetAlone(t *testing.T) {
	m := &modules{launched: launch(t, testmesh.Binary(t), func(o *launcher.Options) { o.HangTime = 15 * time.Second })}
	m.other = m.caller.HTTP(t, "10.96.0.2:80")
	wasm := func(config string) *model.Wasm { return &model.Wasm{Code: module(t), Config: config} }
	m.publish(&model.Extension{Wasm: wasm("good")})
	m.say(m.http, 200, "good")
	m.say(m.other, 200, "fine")
	m.publish(&model.Extension{Wasm: wasm("loop")})
	m.named()
	m.say(m.other, 200, "fine")
	m.say(m.http, 500, "")
	m.publish(&model.Extension{Wasm: wasm("loop"), FailOpen: true})
	m.say(m.http, 200, "")
	m.named()
	m.say(m.other, 200, "fine")
	m.restarts(1)
	m.publish(&model.Extension{Wasm: wasm("mended")})
	m.say(m.http, 200, "mended")
	m.say(m.other, 200, "fine")
	testmesh.Eventually(t, 30*time.Second, "nothing is wrong", func() error {
		if p := m.iso.Problems(); len(p) > 0 {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	m.restarts(1)
}

// It may loop at an answer as well, or when it is configured; and at a timer, where nobody can tell which module it was:
// then none of the waypoint is given to Envoy again before it changes.
func TestWasmLoopsElsewhere(t *testing.T) {
	m := &modules{launched: launch(t, testmesh.Binary(t), func(o *launcher.Options) { o.HangTime = 15 * time.Second })}
	m.other = m.caller.HTTP(t, "10.96.0.2:80")
	m.publish(&model.Extension{Wasm: &model.Wasm{Code: module(t), Config: "Answer"}})
	m.say(m.other, 200, "fine")
	m.named()
	m.say(m.other, 200, "fine")
	m.say(m.http, 500, "")
	m.restarts(1)
	m.publish(&model.Extension{Wasm: &model.Wasm{Code: module(t), Config: "Start"}})
	m.named()
	m.restarts(2)
	m.say(m.other, 200, "fine")
	m.say(m.http, 500, "")
	m.publish(&model.Extension{Wasm: &model.Wasm{Code: module(t), Config: "Tick"}})
	m.say(m.other, 500, "")
	m.say(m.http, 500, "")
	m.restarts(3)
}
