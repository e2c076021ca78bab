package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// A change is sent alone, however much the waypoint serves, and what it does not serve is not sent at all.
// WEFT_SCALE=1000 asks for as many services, and for figures of how fast changes are in force.
func TestOnlyWhatChangedIsSent(t *testing.T) {
	services, changes := 50, 5
	if s := os.Getenv("WEFT_SCALE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		services, changes = n, 200
	}
	m := newMesh(t)
	for i := range services {
		s := m.service(fmt.Sprintf("many-%d", i), fmt.Sprintf("10.97.%d.%d", i/250, i%250+1))
		s.Ports = s.Ports[:1]
		r := m.route(s.Name, model.RouteRule{Backends: []model.Backend{backend(s.Key(), 1)}})
		r.Service = s.Key()
	}
	m.route("mine", model.RouteRule{Backends: []model.Backend{backend(key, 1)}})
	m.numbered(t, -1)
	first := 0
	m.eventually("all is sent", func() error {
		time.Sleep(100 * time.Millisecond) // to see that nothing more comes
		_, more := m.envoy.Sent()
		if first += more; more > 0 || !m.envoy.Current() {
			return fmt.Errorf("%d bytes more", more)
		}
		return nil
	})
	m.settled()
	_, more := m.envoy.Sent()
	first += more

	var took []time.Duration
	for i := range changes {
		took = append(took, m.numbered(t, i))
	}
	names, bytes := m.envoy.Sent()
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) != 1 || names[0] != key+":80" {
		t.Errorf("%d changes of one route sent %d resources, e.g. %q", changes, len(names), names[:min(len(names), 5)])
	}

	elsewhere := m.service("elsewhere", "10.98.0.1")
	elsewhere.Waypoint = nil
	m.snap.Services["other/x"] = &model.Service{Name: "x", Namespace: "other", Hostname: "x", Addresses: elsewhere.Addresses, Ports: elsewhere.Ports}
	m.publish()
	m.numbered(t, changes)
	if names, _ := m.envoy.Sent(); len(names) != 1 {
		t.Errorf("a service of others was sent: %q", names[:min(len(names), 5)])
	}
	slices.Sort(took)
	t.Logf("%d services: %d KB at first; %d changes of a route: %d bytes each; in force after p50 %s, p99 %s", services+1, first>>10,
		changes, bytes/changes, took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
}

// numbered changes the route to the first service, and returns how long that took to be seen in an answer.
func (m *mesh) numbered(t *testing.T, n int) time.Duration {
	t.Helper()
	m.route("mine", model.RouteRule{
		ResponseHdr: model.HeaderChange{Set: []model.Header{{Name: "x-change", Value: strconv.Itoa(n)}}},
		Backends:    []model.Backend{backend(key, 1)},
	})
	start := time.Now()
	m.publish()
	m.eventually(fmt.Sprintf("change %d is in force", n), func() error {
		code, _, h, err := ask(m.http, "GET", "/")
		if err == nil && (code != 200 || h.Get("x-change") != strconv.Itoa(n)) {
			err = fmt.Errorf("status %d, change %q", code, h.Get("x-change"))
		}
		return err
	})
	return time.Since(start)
}
