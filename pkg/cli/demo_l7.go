package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// loadReport is what shop-client load prints; times are in milliseconds.
type loadReport struct {
	Requests, OK, Slow int
	Statuses           map[string]int
	Versions           map[string]int
	Errors             map[string]int
	P50                float64 `json:"p50ms"`
	P90                float64 `json:"p90ms"`
	Start              time.Time
	Each               []loadSample
}

// loadSample is one request of a load.
type loadSample struct {
	AtMS, TookMS float64 // sent, after Start; until the answer or the failure
	Status       int
	Exit         int // 0, or how it failed: 28 is a timeout
}

func (s loadSample) ok() bool { return s.Status >= 200 && s.Status < 400 }

// load runs shop-client load in the frontend.
func (s *story) load(ctx context.Context, args ...string) (loadReport, error) {
	var rep loadReport
	r, err := s.must(ctx, "shop/frontend", append([]string{"shop-client", "load"}, args...)...)
	if err != nil {
		return rep, err
	}
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil {
		return rep, fmt.Errorf("shop-client load said %q: %w", r.out, err)
	}
	return rep, nil
}

// awaitRoute waits for the waypoint's pod and for testers to get v2, which only the route brings about.
func (s *story) awaitRoute(ctx context.Context) error {
	return s.until(ctx, 45*time.Second, func() (string, error) {
		r, err := s.load(ctx, "-n", "20", "-timeout", "2s", "-H", "x-user: tester", "http://cart/")
		if err == nil && (r.OK != 20 || r.Versions["v2"] != 20) {
			return fmt.Sprintf("of 20 testers' requests %d succeeded and %d got v2; errors: %v", r.OK, r.Versions["v2"], r.Errors), nil
		}
		if err != nil {
			return "", err
		}
		paid, err := s.checkout(ctx)
		if err == nil && !strings.Contains(paid.out, "charged") {
			return "the cart cannot pay: " + oneLine(paid.out), nil
		}
		return "", err
	})
}

func (s *story) checkRoute(ctx context.Context) error {
	p, err := s.pod("shop/shop")
	if err != nil {
		return err
	}
	s.proved("the controller deployed waypoint %s on %s (a stock Envoy)", p.Name, p.Spec.NodeName)
	const n = 1000
	r, err := s.load(ctx, "-n", fmt.Sprint(n), "-c", "8", "http://cart/")
	if err != nil {
		return err
	}
	v1, v2 := r.Versions["v1"], r.Versions["v2"]
	// 100 ± 4 standard deviations of a draw of 1 in 10: chance fails this once in 15,000 runs.
	if r.OK != n || v1+v2 != n || v2 < 62 || v2 > 138 {
		return fmt.Errorf("of %d requests %d succeeded: v1 %d, v2 %d, want about 900 and 100; errors: %v", n, r.OK, v1, v2, r.Errors)
	}
	s.proved("%d requests: v1 %d, v2 %d (asked for 90/10), p50 %.1f ms", n, v1, v2, r.P50)
	t, err := s.load(ctx, "-n", "200", "-H", "x-user: tester", "http://cart/")
	if err != nil {
		return err
	}
	if t.Versions["v2"] != 200 {
		return fmt.Errorf("of 200 testers' requests only %d got v2: %v", t.Versions["v2"], t.Versions)
	}
	s.proved("200 requests with \"x-user: tester\": 200 from v2")
	return s.checkCallersBehindWaypoint(ctx)
}

// checkCallersBehindWaypoint proves that the policy of step 3 still tells callers apart, though every caller
// of payments now comes through the waypoint.
func (s *story) checkCallersBehindWaypoint(ctx context.Context) error {
	paid, err := s.checkout(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(paid.out, "charged") {
		return fmt.Errorf("behind the waypoint the cart cannot pay: %s", paid.out)
	}
	r, err := s.call(ctx, "shop/frontend", payCommand...)
	if err != nil {
		return err
	}
	if r.code == 0 || r.out != "" {
		return fmt.Errorf("behind the waypoint frontend reached payments: %s", r.out)
	}
	s.proved("step 3's policy holds behind the waypoint: cart → payments is let in, frontend → payments is refused after %s", millis(r.took))
	return nil
}

func (s *story) awaitFault(ctx context.Context) error {
	return s.until(ctx, 15*time.Second, func() (string, error) {
		r, err := s.load(ctx, "-n", "4", "-c", "4", "-timeout", "2s", "-H", "x-user: patient", "http://catalog/list")
		if err == nil && (r.OK != 4 || r.Slow != 4) {
			return fmt.Sprintf("of 4 requests %d succeeded and %d were slow; errors: %v", r.OK, r.Slow, r.Errors), nil
		}
		return "", err
	})
}

func (s *story) checkFault(ctx context.Context) error {
	const n = 1000
	r, err := s.load(ctx, "-n", fmt.Sprint(n), "-c", "8", "http://catalog/list")
	if err != nil {
		return err
	}
	aborted := r.Statuses["503"]
	// 300 ± 4 standard deviations.
	if aborted+r.Statuses["200"] != n || aborted < 242 || aborted > 358 {
		return fmt.Errorf("of %d requests %d were aborted, want about 300: %v", n, aborted, r.Statuses)
	}
	s.proved("%d requests: %d aborted with 503 (asked for 30 %%), %d answered, p50 %.1f ms", n, aborted, r.Statuses["200"], r.P50)
	// Envoy's timers count from the time its loop last looked at the clock, so they may be some ms early.
	d, err := s.load(ctx, "-n", "80", "-c", "8", "-slow", "190ms", "-H", "x-user: patient", "http://catalog/list")
	if err != nil {
		return err
	}
	if d.OK != 80 || d.Slow != 80 || d.P50 > 400 {
		return fmt.Errorf("of 80 patient requests %d succeeded, %d took 190 ms or more, p50 %.0f ms", d.OK, d.Slow, d.P50)
	}
	s.proved("80 requests with \"x-user: patient\": all answered, all delayed, p50 %.0f ms", d.P50)
	return nil
}
