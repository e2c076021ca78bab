package e2e

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// Delays are spread as asked: what was drawn is read back from requests that are not delayed but aborted.
func TestFaultDistributions(t *testing.T) {
	m := newMesh(t)
	m.route("tell", filtered("/", model.HTTPFilter{Headers: &model.HeaderFilter{
		Response: model.HeaderChange{Set: []model.Header{{Name: "X-Drawn", Value: "${request.header.x-envoy-fault-delay-request}"}}},
	}}))
	rule := func(path string, s model.Spread) model.FaultRule {
		return model.FaultRule{Matches: []model.RouteMatch{{PathKind: model.PathExact, Path: path}}, AbortPercent: 100, AbortStatus: 503, DelayPercent: 0.0001, Delay: time.Second, Spread: &s}
	}
	f := &model.Fault{Namespace: "shop", Name: "f", Target: model.Target{Service: key}, Rules: []model.FaultRule{
		rule("/normal", model.Spread{Kind: "Normal", Deviation: 100 * time.Millisecond}),
		rule("/uniform", model.Spread{Kind: "Uniform", Deviation: 300 * time.Millisecond}),
		rule("/exponential", model.Spread{Kind: "Exponential"}),
		rule("/short", model.Spread{Kind: "Exponential", Max: 500 * time.Millisecond}),
	}}
	m.snap.Faults[f.Key()] = f
	if p := m.publish(); len(p) > 0 {
		t.Fatal(p)
	}
	m.statusIs(503, m.http, "GET", "/normal")
	const n = 1000
	for _, c := range []struct {
		path                      string
		mean, deviation, from, to float64 // ms
	}{
		{"/normal", 1000, 100, 400, 1600},
		{"/uniform", 1000, 300 / math.Sqrt(3), 700, 1300},
		{"/exponential", 1000, 1000, 0, 20_000},
		{"/short", 1000 * (1 - math.Exp(-0.5)), 160, 0, 500},
	} {
		var sum, squares float64
		for range n {
			_, _, h, err := ask(m.http, "GET", c.path, "X-Envoy-Fault-Delay-Request", "77777", "X-Envoy-Fault-Delay-Request-Percentage", "0")
			if err != nil {
				t.Fatal(err)
			}
			ms, err := strconv.ParseFloat(h.Get("X-Drawn"), 64)
			if err != nil || ms < c.from || ms > c.to {
				t.Fatalf("%s: drawn %q, want %g to %g", c.path, h.Get("X-Drawn"), c.from, c.to)
			}
			sum, squares = sum+ms, squares+ms*ms
		}
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		// the mean of n draws strays by deviation/√n; seven times that, and a third of the deviation, is not chance
		if math.Abs(mean-c.mean) > 7*c.deviation/math.Sqrt(n)+1 || math.Abs(deviation-c.deviation) > c.deviation/3 {
			t.Errorf("%s: mean %.0f, deviation %.0f ms; want %.0f and %.0f", c.path, mean, deviation, c.mean, c.deviation)
		}
	}
}

// A spread delay is waited for, and the service sees nothing of it. A client cannot choose its own.
func TestFaultSpreadDelays(t *testing.T) {
	m := newMesh(t)
	f := &model.Fault{Namespace: "shop", Name: "f", Target: model.Target{Service: key}, Rules: []model.FaultRule{{
		DelayPercent: 100, Delay: 200 * time.Millisecond, Spread: &model.Spread{Kind: "Uniform", Deviation: 50 * time.Millisecond},
	}}}
	m.snap.Faults[f.Key()] = f
	m.publish()
	m.eventually("requests are delayed, and what tells Envoy so does not leave it", func() error {
		start := time.Now()
		_, e, _, err := ask(m.http, "GET", "/", "X-Envoy-Fault-Delay-Request", "0", "X-Envoy-Fault-Delay-Request-Percentage", "0")
		switch took := time.Since(start); {
		case err != nil:
			return err
		case took < 150*time.Millisecond:
			return fmt.Errorf("took %v", took)
		case e.Headers.Get("X-Envoy-Fault-Delay-Request") != "" || e.Headers.Get("X-Envoy-Fault-Delay-Request-Percentage") != "":
			return fmt.Errorf("the service sees %v", e.Headers)
		}
		return nil
	})
}

// Faults of routes, rules and ports leave the rest alone; the narrowest is tried first.
func TestFaultOfRoutes(t *testing.T) {
	m := newMesh(t)
	named := func(name, prefix string) model.RouteRule {
		return model.RouteRule{Name: name, Matches: path(model.PathPrefix, prefix), Backends: []model.Backend{backend(key, 1)}}
	}
	r := m.route("r", named("one", "/one"), named("two", "/two"))
	abort := func(name string, status uint32, at model.Target) {
		f := &model.Fault{Namespace: "shop", Name: name, Target: at, Rules: []model.FaultRule{
			{Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-chaos", Value: "1"}}}}, AbortPercent: 100, AbortStatus: status}}}
		m.snap.Faults[f.Key()+"@"+at.String()] = f
	}
	abort("a", 501, model.Target{Service: key})
	abort("b", 502, model.Target{Route: r.Key()})
	abort("c", 503, model.Target{Route: r.Key(), Rule: "two"})
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	abort("d", 504, model.Target{Service: "shop/other.shop.svc.cluster.local", Port: 81})
	if p := m.publish(); len(p) > 0 {
		t.Fatal(p)
	}
	chaos := func(status int, c *http.Client, path string) {
		t.Helper()
		m.statusIs(status, c, "GET", path, "X-Chaos", "1")
	}
	chaos(503, m.http, "/two")
	chaos(502, m.http, "/one")
	m.statusIs(200, m.http, "GET", "/two")
	chaos(504, m.client.HTTP(t, "10.96.0.2:81"), "/") // of unknown protocol: taken for HTTP
	chaos(200, m.client.HTTP(t, "10.96.0.2:80"), "/")
	delete(m.snap.Faults, "shop/b@"+r.Key())
	m.publish()
	chaos(501, m.http, "/one")
	chaos(503, m.http, "/two")
}

// Bodies of answers come no faster than asked.
func TestFaultBandwidth(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 64<<10))
	}), model.AppHTTP)
	f := &model.Fault{Namespace: "shop", Name: "f", Target: model.Target{Service: key}, Rules: []model.FaultRule{
		{Matches: path(model.PathPrefix, "/slow"), BandwidthPercent: 100, Bandwidth: 64 << 10}}}
	m.snap.Faults[f.Key()] = f
	m.publish()
	m.eventually("64 KiB at 64 KiB/s take their time", func() error {
		start := time.Now()
		res, err := http.Get("http://" + addr + "/slow")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if took := time.Since(start); err != nil || len(body) != 64<<10 || took < 700*time.Millisecond {
			return fmt.Errorf("%d bytes in %v, %v", len(body), took, err)
		}
		return nil
	})
}
