package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

// checkKill kills the frontend's ztunnel in the middle of a stream of requests, and measures what the
// callers felt.
func (s *story) checkKill(ctx context.Context) error {
	const node = "n1"
	var rep loadReport
	var swap replacement
	r, err := s.watchWire(func() error {
		done := make(chan error, 1)
		go func() {
			var err error
			// So many workers that requests go on beginning while others hang.
			rep, err = s.load(ctx, "-duration", "6s", "-every", "10ms", "-c", "500", "-timeout", "4s", "-fresh", "-each", "-H", "x-card: "+card, "http://cart/")
			done <- err
		}()
		select {
		case <-time.After(2 * time.Second):
		case err := <-done:
			return fmt.Errorf("the load ended early: %w", err)
		}
		var err error
		if swap, err = s.replaceZtunnel(ctx, node); err != nil {
			return err
		}
		return <-done
	}, card)
	if err != nil {
		return err
	}
	s.proved("ztunnel/%s (pid %d) was killed with SIGKILL while the frontend makes 100 new connections a second;", node, swap.old)
	s.note("  it was gone after %.0f ms, its successor (pid %d) ran after %.0f ms and was configured after %.0f ms", msOf(swap.gone), swap.new, msOf(swap.started), msOf(swap.ready))
	if err := onlyTLS(r); err != nil {
		return err
	}
	s.proved("capture of %d frames: %d packets of TLS to port 15008, not one packet past the tunnel, the marker is nowhere", r.Frames, r.Tunnel.Packets)
	felt := feel(rep, swap.killed, swap.ready)
	if !felt.recovered {
		return fmt.Errorf("requests did not succeed again: %d of %d failed; %v", felt.failed(), rep.Requests, rep.Errors)
	}
	s.proved("no request was answered for %.0f ms, from %.0f ms after the kill to %.0f ms after it", felt.gap, felt.gapFrom, felt.gapFrom+felt.gap)
	s.proved("of %d requests, %d were under way or begun meanwhile: %s", rep.Requests, felt.touched, felt.fate())
	if felt.slowest >= 1000 {
		s.note("  (a DNS query lost to the kill is repeated after the 1 s of the lab's resolv.conf, and Go lets every lookup of a name wait for the one under way)")
	}
	return nil
}

// replacement is the death of a ztunnel and its successor's birth; the times count from the kill.
type replacement struct {
	old, new             int // pids
	killed               time.Time
	gone, started, ready time.Duration
}

// replaceZtunnel kills a node's ztunnel and waits until another process has taken its place.
func (s *story) replaceZtunnel(ctx context.Context, node string) (replacement, error) {
	name := "ztunnel/" + node
	before, err := s.program(name)
	if err != nil {
		return replacement{}, err
	}
	r := replacement{old: before.PID, killed: time.Now()}
	if _, err := lab.Kill(s.c.Layout, name); err != nil {
		return r, err
	}
	for before.Alive() {
		time.Sleep(time.Millisecond)
	}
	r.gone = time.Since(r.killed)
	err = s.until(ctx, 20*time.Second, func() (string, error) {
		after, err := s.program(name)
		if err != nil {
			return "", err
		}
		if after.ProcessID == before.ProcessID || !after.Alive() {
			return "no other process runs in place of " + name, nil
		}
		r.new, r.started = after.PID, after.Since.Sub(r.killed)
		_, err = socketPage(s.c.ZtunnelSocket(node))(ctx, "/ready")
		return "", err
	})
	r.ready = time.Since(r.killed)
	return r, err
}

func (s *story) program(name string) (*lab.Program, error) {
	st, err := s.c.ReadState()
	if err != nil {
		return nil, err
	}
	if st.Programs[name] == nil {
		return nil, fmt.Errorf("%s does not run", name)
	}
	return st.Programs[name], nil
}

// feeling is what callers noticed of an outage; times are in milliseconds.
type feeling struct {
	gap, gapFrom  float64        // the longest time without an answer, and its beginning after the outage's
	touched       int            // requests under way at the beginning or begun until the end of the gap
	answered      int            // of these
	slowest       float64        // of these that were answered
	timedOut      int            // of these
	atOnce        map[string]int // of these: failures that are not timeouts, by kind
	slowestAtOnce float64
	recovered     bool // a request sent after the outage was answered
}

func (f feeling) failed() int {
	n := f.timedOut
	for _, k := range f.atOnce {
		n += k
	}
	return n
}

// fate says what became of the requests that an outage touched.
func (f feeling) fate() string {
	parts := []string{fmt.Sprintf("answered %d, the slowest after %.0f ms", f.answered, f.slowest)}
	if n := f.failed() - f.timedOut; n > 0 {
		var kinds []string
		for _, k := range sortedKeys(f.atOnce) {
			kinds = append(kinds, fmt.Sprintf("%d %s", f.atOnce[k], k))
		}
		parts = append(parts, fmt.Sprintf("failed at once %d (%s), each within %.0f ms", n, strings.Join(kinds, ", "), f.slowestAtOnce))
	}
	if f.timedOut > 0 {
		parts = append(parts, fmt.Sprintf("timed out %d", f.timedOut))
	}
	if f.failed() == 0 {
		parts = append(parts, "none failed")
	}
	return strings.Join(parts, ", ")
}

// feel finds the longest gap between answers that overlaps an outage, and what became of the requests in it.
func feel(rep loadReport, killed time.Time, outage time.Duration) feeling {
	from := msOf(killed.Sub(rep.Start))
	until := from + msOf(outage)
	var answers []float64
	for _, r := range rep.Each {
		if r.ok() {
			answers = append(answers, r.AtMS+r.TookMS)
		}
	}
	slices.Sort(answers)
	f := feeling{atOnce: map[string]int{}}
	for i := 1; i < len(answers); i++ {
		if a, b := answers[i-1], answers[i]; b > from && a < until && b-a > f.gap {
			f.gap, f.gapFrom = b-a, a-from
		}
	}
	end := max(until, from+f.gapFrom+f.gap)
	for _, r := range rep.Each {
		if r.ok() && r.AtMS > until {
			f.recovered = true
		}
		if r.AtMS+r.TookMS < from || r.AtMS > end {
			continue
		}
		f.touched++
		switch {
		case r.ok():
			f.answered++
			f.slowest = max(f.slowest, r.TookMS)
		case r.Exit == exitTimeout:
			f.timedOut++
		default:
			f.atOnce[r.failure()]++
			f.slowestAtOnce = max(f.slowestAtOnce, r.TookMS)
		}
	}
	return f
}

// exitTimeout is how shop-client calls a timeout.
const exitTimeout = 28

// failure names a failure by shop-client's number.
func (s loadSample) failure() string {
	switch s.Exit {
	case 0:
		return fmt.Sprintf("answered %d", s.Status)
	case 6:
		return "without DNS"
	case 7:
		return "refused"
	case 56:
		return "reset"
	}
	return fmt.Sprintf("with code %d", s.Exit)
}

func msOf(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
