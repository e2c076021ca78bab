package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// traffic attaches a policy, in place of an earlier one of the name.
func (m *mesh) traffic(name string, to model.Target, p *model.TrafficPolicy) {
	m.snap.Attachments[name] = &model.Attachment{Kind: "TrafficPolicy", Namespace: "shop", Name: name, Target: to, Traffic: p}
	m.publish()
}

var cartService = model.Target{Service: key}

func getOnly(attempts uint32, on ...model.RetryCondition) *model.Retries {
	return &model.Retries{Attempts: attempts, On: on, Methods: []string{"GET", "HEAD", "OPTIONS"}}
}

// seen counts what one request makes of tries, and its answer.
func (m *mesh) seen(method, path string, header ...string) (tries int64, status int) {
	m.t.Helper()
	before := int64(0)
	for _, p := range m.pods {
		before += p.Seen.Load()
	}
	status, _, _, err := ask(m.http, method, path, header...)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, p := range m.pods {
		tries += p.Seen.Load()
	}
	return tries - before, status
}

// tries waits until a request makes so many tries.
func (m *mesh) tries(want int64, status int, method, path string, header ...string) {
	m.t.Helper()
	m.eventually(fmt.Sprintf("%s %s is tried %d times and answered %d", method, path, want, status), func() error {
		if got, code := m.seen(method, path, header...); got != want || code != status {
			return fmt.Errorf("%d times, %d", got, code)
		}
		return nil
	})
}

// stat reads a counter of Envoy's.
func (m *mesh) stat(name string) int64 {
	m.t.Helper()
	_, body := m.envoy.Admin("GET", "/stats?format=json&filter="+strings.ReplaceAll(name, ".", `\.`)+"$")
	var out struct {
		Stats []struct {
			Name  string
			Value int64
		}
	}
	if err := json.NewDecoder(bytes.NewBufferString(body)).Decode(&out); err != nil {
		m.t.Fatalf("stats %s: %v: %s", name, err, body)
	}
	n := int64(0)
	for _, s := range out.Stats {
		n += s.Value
	}
	return n
}

func TestTrafficTimeouts(t *testing.T) {
	m := newMesh(t)
	b := []model.Backend{backend(key, 1)}
	m.route("timeouts",
		model.RouteRule{Name: "patient", Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-rule", Value: "patient"}}}}, Backends: b},
		model.RouteRule{Name: "own", Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-rule", Value: "own"}}}}, Timeout: 10 * time.Second, Backends: b},
		model.RouteRule{Name: "endless", Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-rule", Value: "endless"}}}}, NoTimeout: true, Backends: b},
		model.RouteRule{Backends: b})
	short := 150 * time.Millisecond
	m.traffic("service", cartService, &model.TrafficPolicy{Timeouts: &model.Timeouts{Request: &short}})
	m.statusIs(504, m.http, "GET", "/sleep/5000")
	// A rule's own policy comes first, and what the route says before that.
	m.traffic("rule", model.Target{Route: "HTTPRoute/shop/timeouts", Rule: "patient"}, &model.TrafficPolicy{Timeouts: &model.Timeouts{Request: ptr(10 * time.Second)}})
	m.statusIs(200, m.http, "GET", "/sleep/400", "x-rule", "patient")
	m.statusIs(200, m.http, "GET", "/sleep/400", "x-rule", "own")
	m.statusIs(200, m.http, "GET", "/sleep/400", "x-rule", "endless")
	m.statusIs(504, m.http, "GET", "/sleep/5000")
	// One try, and with it the next.
	m.traffic("service", cartService, &model.TrafficPolicy{Timeouts: &model.Timeouts{PerTry: &short}, Retries: getOnly(2, model.RetryReset)})
	m.tries(3, 504, "GET", "/sleep/5000")
	m.tries(1, 504, "POST", "/sleep/5000")
	// Nothing moves.
	m.traffic("service", cartService, &model.TrafficPolicy{Timeouts: &model.Timeouts{Idle: &short}})
	m.tries(1, 504, "GET", "/sleep/5000")
}

func TestTrafficRetries(t *testing.T) {
	m := newMesh(t)
	pod := m.pods[0]
	pod.Flaky.Store(1 << 40)
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(3, model.RetryServerError)})
	m.tries(4, 503, "GET", "/flaky")
	m.tries(1, 503, "POST", "/flaky")
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: &model.Retries{Attempts: 2, On: []model.RetryCondition{model.RetryGatewayError}}})
	m.tries(3, 503, "POST", "/flaky")
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: &model.Retries{Attempts: 1, On: []model.RetryCondition{model.RetryReset}, Codes: []uint32{503}}})
	m.tries(2, 503, "POST", "/flaky")
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: &model.Retries{Attempts: 1, Codes: []uint32{500}, Base: time.Millisecond, Max: time.Millisecond}})
	m.tries(1, 503, "POST", "/flaky")
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(0, model.RetryServerError)})
	m.tries(1, 503, "GET", "/flaky")
	m.tries(1, 503, "GET", "/abort") // by default it would be repeated
	delete(m.snap.Attachments, "p")
	m.publish()
	m.tries(3, 503, "GET", "/abort")
	// It gets better.
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(3, model.RetryServerError)})
	m.tries(4, 503, "GET", "/flaky")
	pod.Flaky.Store(2)
	m.tries(3, 200, "GET", "/flaky")
}

// A budget of nothing lets no retry through, however many a request may have.
func TestTrafficRetryBudget(t *testing.T) {
	m := newMesh(t)
	m.pods[0].Flaky.Store(1 << 40)
	retries := getOnly(1, model.RetryServerError)
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: retries})
	m.tries(2, 503, "GET", "/flaky")
	limited := *retries
	limited.Budget = &model.RetryBudget{}
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: &limited})
	m.tries(1, 503, "GET", "/flaky")
	if n := m.stat("cluster." + key + "_80.upstream_rq_retry_overflow"); n == 0 {
		t.Error("no retry went over the budget")
	}
	// A share of what is under way.
	limited.Budget = &model.RetryBudget{Percent: 100, MinConcurrent: 1}
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: &limited})
	m.tries(2, 503, "GET", "/flaky")
}

func TestTrafficGRPCRetries(t *testing.T) {
	m := newMesh(t)
	pod := m.pods[0]
	call := func() (string, int64) {
		before := pod.Seen.Load()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// Check of no service in particular, without a body: five bytes of an empty message.
		req, err := http.NewRequestWithContext(ctx, "POST", "http://cart/grpc.health.v1.Health/Check", bytes.NewReader(make([]byte, 5)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		res, err := h2c(m.client, "10.96.0.1:90").RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := &bytes.Buffer{}
		_, _ = buf.ReadFrom(res.Body)
		code := res.Header.Get("Grpc-Status")
		if code == "" {
			code = res.Trailer.Get("Grpc-Status")
		}
		return code, pod.Seen.Load() - before
	}
	pod.Flaky.Store(1 << 40)
	if code, tries := call(); code != "14" || tries != 1 {
		t.Errorf("without a policy: status %s after %d tries", code, tries)
	}
	r := getOnly(2)
	r.GRPC = []string{"unavailable"}
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: r})
	m.eventually("a gRPC call is tried three times", func() error {
		if code, tries := call(); code != "14" || tries != 3 {
			return fmt.Errorf("status %s after %d tries", code, tries)
		}
		return nil
	})
	pod.Flaky.Store(2)
	if code, tries := call(); code != "0" || tries != 3 {
		t.Errorf("the third time it works: status %s after %d tries", code, tries)
	}
}

// Of what comes at once, a limit lets so much through and refuses the rest.
func TestTrafficCircuitBreaker(t *testing.T) {
	m := newMesh(t)
	pod := m.pods[0]
	m.traffic("p", cartService, &model.TrafficPolicy{Limits: &model.ConnectionLimits{Requests: ptr(uint32(2))}, Retries: getOnly(0)})
	var held sync.WaitGroup
	codes := make(chan int, 2)
	release := func() {
		pod.Hold.Store(false)
		held.Wait()
		for range 2 {
			if code := <-codes; code != 200 {
				t.Errorf("a request that was held ends %d", code)
			}
		}
	}
	m.eventually("beside two a third is refused", func() error { // by a worker: those hear of the limit later
		pod.Hold.Store(true)
		before := pod.Seen.Load()
		for range 2 {
			held.Go(func() {
				code, _, _, err := ask(m.http, "GET", "/hold")
				if err != nil {
					t.Error(err)
				}
				codes <- code
			})
		}
		m.eventually("two requests are held", func() error {
			if n := pod.Seen.Load() - before; n != 2 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		code, _, _, err := ask(m.http, "GET", "/")
		if err == nil && code == 503 {
			return nil
		}
		release()
		return fmt.Errorf("%d %w", code, err)
	})
	before, refused := pod.Seen.Load(), m.stat("cluster."+key+"_80.upstream_rq_active_overflow")
	for range 7 {
		code, _, h, err := ask(m.http, "GET", "/")
		if err != nil || code != 503 {
			t.Errorf("over the limit: %d %v %v", code, h, err)
		}
	}
	if n := pod.Seen.Load() - before; n != 0 {
		t.Errorf("the application saw %d requests over the limit", n)
	}
	release()
	m.statusIs(200, m.http, "GET", "/")
	if n := m.stat("cluster."+key+"_80.upstream_rq_active_overflow") - refused; n != 7 {
		t.Errorf("Envoy counts %d refusals", n)
	}
}

// With all connections taken a request waits, as many as may do, and the next one is refused.
func TestTrafficPendingRequests(t *testing.T) {
	m := newMesh(t)
	pod := m.pods[0]
	m.traffic("p", cartService, &model.TrafficPolicy{Protocol: model.AppHTTP, Retries: getOnly(0),
		Limits: &model.ConnectionLimits{Connections: ptr(uint32(1)), Pending: ptr(uint32(1))}})
	m.eventually("the limit is in force", func() error {
		if _, clusters := m.envoy.Admin("GET", "/clusters"); !strings.Contains(clusters, key+":80::default_priority::max_pending_requests::1\n") {
			return errors.New("not yet")
		}
		return nil
	})
	pod.Hold.Store(true)
	before := pod.Seen.Load()
	var asked sync.WaitGroup
	var refused atomic.Int64
	pending := func() int64 { return m.stat("cluster." + key + "_80.upstream_rq_pending_active") }
	// Each of Envoy's workers may have a connection, and who waits may do so while one is made: so until one request is
	// refused while another waits, with all that are held.
	for sent := int64(1); ; sent++ {
		asked.Go(func() {
			switch code, _, _, err := ask(m.http, "GET", "/hold"); {
			case err == nil && code == 503:
				refused.Add(1)
			case err != nil || code != 200:
				t.Errorf("a request that was held or waited ends %d %v", code, err)
			}
		})
		m.eventually("it is held, waits or is refused", func() error {
			if n := pod.Seen.Load() - before + pending() + refused.Load(); n != sent {
				return fmt.Errorf("%d of %d", n, sent)
			}
			return nil
		})
		if refused.Load() > 0 && pending() == 1 && pod.Seen.Load()-before+refused.Load() == sent-1 {
			break
		}
		if sent == 20 {
			t.Error("no request is refused while another waits")
			break
		}
	}
	pod.Hold.Store(false)
	asked.Wait()
}
