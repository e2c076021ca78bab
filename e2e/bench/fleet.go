package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// change is what one change of a pod costs in a mesh of a size: a pod comes, or comes and another goes.
type change struct {
	Bytes   float64 `json:"bytes"`      // to each ztunnel
	Seconds float64 `json:"p50Seconds"` // from writing the file until a ztunnel has heard
	Control float64 `json:"controllerCPUSeconds"`
	Ztunnel float64 `json:"ztunnelCPUSeconds"`
}

func (c change) String() string {
	return fmt.Sprintf("%.0f bytes, %.0f ms, %.1f CPU-ms in the controller and %.1f in a ztunnel", c.Bytes, c.Seconds*1000, c.Control*1000, c.Ztunnel*1000)
}

// oneByOne makes changes, each when the one before has arrived.
func (c *control) oneByOne(ctx context.Context, ztunnel, n int) (out change, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.watch(ctx, "watches")
	if err != nil {
		return out, err
	}
	defer w.conn.Close()
	if err := w.all(); err != nil {
		return out, err
	}
	heard := make(chan seen, 1000)
	go w.follow(func(s seen) { heard <- s })
	before, err := cpus(c.Process.Pid, ztunnel)
	if err != nil {
		return out, err
	}
	var took []float64
	for range n {
		began := time.Now()
		if err := c.churn(n); err != nil {
			return out, err
		}
		for arrived := false; !arrived; {
			select {
			case s := <-heard:
				out.Bytes += float64(s.bytes) / float64(n)
				arrived = s.made == c.made-1
				took = append(took, s.at.Sub(began).Seconds())
			case <-ctx.Done():
				return out, fmt.Errorf("a change did not arrive: %w", ctx.Err())
			}
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil { // what is done behind a change belongs to it
			return out, err
		}
	}
	after, err := cpus(c.Process.Pid, ztunnel)
	if err != nil {
		return out, err
	}
	slices.Sort(took)
	out.Seconds, out.Control, out.Ztunnel = took[len(took)/2], (after[0]-before[0])/float64(n), (after[1]-before[1])/float64(n)
	return out, nil
}

func cpus(pids ...int) (out []float64, err error) {
	for _, pid := range pids {
		cpu, err := cpuOf(pid)
		if err != nil {
			return nil, err
		}
		out = append(out, cpu)
	}
	return out, nil
}

// fleet is what one controller carries: ztunnels that start at once, and then pods that come and go.
type fleet struct {
	Workloads int `json:"workloads"`
	Ztunnels  int `json:"ztunnels"`

	Started  float64 `json:"startedSeconds"`  // from the first subscription until all ztunnels have everything
	StartCPU float64 `json:"startCPUSeconds"` // of the controller meanwhile
	Peak     int64   `json:"peakBytes"`       // resident, of the controller
	Idle     int64   `json:"idleBytes"`       // with all connected, before pods change
	Rate     float64 `json:"podsPerSecond"`   // that came, and as many that went
	P50      float64 `json:"p50Seconds"`      // from a pod's coming until a ztunnel hears of it, all ztunnels and pods
	P99      float64 `json:"p99Seconds"`      //
	Max      float64 `json:"maxSeconds"`      //
	Missing  int     `json:"missing"`         // (pod, ztunnel) that were not heard of a minute after the last one
	CPU      float64 `json:"cpuPerSecond"`    // of the controller, while pods change
	Bytes    float64 `json:"bytesPerChange"`  // to each ztunnel
	Churning int64   `json:"churningBytes"`   // resident, of the controller, at the end of it
}

func (f fleet) String() string {
	text := fmt.Sprintf("%d ztunnels, %d workloads: all know all %.1f s after they start together (controller: %.1f CPU-s, %d MB, peak %d MB); %.0f pods a second come and as many go: heard of after p50 %.0f ms, p99 %.0f ms, at most %.0f ms; controller %.2f CPU-s a second, %d MB; %.0f bytes a change to each",
		f.Ztunnels, f.Workloads, f.Started, f.StartCPU, f.Idle>>20, f.Peak>>20, f.Rate, f.P50*1000, f.P99*1000, f.Max*1000, f.CPU, f.Churning>>20, f.Bytes)
	if f.Missing > 0 {
		text += fmt.Sprintf("; %d were NOT heard of", f.Missing)
	}
	return text
}

func (r *report) measureFleet(ctx context.Context, o options) error {
	for _, workloads := range o.fleetOf {
		say("%d ztunnels in a mesh of %d workloads", o.ztunnels, workloads)
		f, err := measureFleet(ctx, o, workloads)
		if err != nil {
			return fmt.Errorf("%d ztunnels in a mesh of %d workloads: %w", o.ztunnels, workloads, err)
		}
		r.Fleet = append(r.Fleet, f)
	}
	return nil
}

func measureFleet(ctx context.Context, o options, workloads int) (f fleet, err error) {
	f = fleet{Workloads: workloads, Ztunnels: o.ztunnels}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	c, err := startControl(ctx, o, workloads)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	pid := c.Process.Pid
	before, err := cpuOf(pid)
	if err != nil {
		return f, err
	}
	began := time.Now()
	watchers := make([]*watcher, o.ztunnels)
	var g errgroup.Group
	for i := range watchers {
		g.Go(func() (err error) {
			if watchers[i], err = c.watch(ctx, fmt.Sprintf("node-%d", i)); err != nil {
				return err
			}
			return watchers[i].all()
		})
	}
	defer func() {
		for _, w := range watchers {
			if w != nil {
				w.conn.Close()
			}
		}
	}()
	if err := g.Wait(); err != nil {
		return f, err
	}
	f.Started = time.Since(began).Seconds()
	after, err := cpuOf(pid)
	if err != nil {
		return f, err
	}
	f.StartCPU = after - before
	if err := pause(ctx, 3*time.Second); err != nil {
		return f, err
	}
	if f.Idle, err = residentOf(pid); err != nil {
		return f, err
	}
	if err := f.churn(ctx, c, watchers, o.seconds*4); err != nil {
		return f, err
	}
	if f.Churning, err = residentOf(pid); err != nil {
		return f, err
	}
	f.Peak, err = peakOf(pid)
	return f, err
}

// ears collect what watchers hear.
type ears struct {
	mu    sync.Mutex
	born  []time.Time // of each pod, by its number
	took  []float64
	bytes int
}

func (e *ears) hear(s seen) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += s.bytes
	if s.made >= 0 && s.made < len(e.born) {
		e.took = append(e.took, s.at.Sub(e.born[s.made]).Seconds())
	}
}

func (e *ears) heard() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.took)
}

// churnRate is how many pods come in a second; as many go.
const churnRate = 100

func (f *fleet) churn(ctx context.Context, c *control, watchers []*watcher, seconds float64) error {
	e := &ears{}
	for _, w := range watchers {
		go w.follow(e.hear)
	}
	n := max(1, int(seconds*churnRate))
	before, err := cpuOf(c.Process.Pid)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range n {
		if err := pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/churnRate))); err != nil {
			return err
		}
		e.mu.Lock()
		e.born = append(e.born, time.Now())
		e.mu.Unlock()
		if err := c.churn(5 * churnRate); err != nil {
			return err
		}
	}
	lasted := time.Since(began).Seconds()
	f.Rate = float64(n) / lasted
	after, err := cpuOf(c.Process.Pid)
	if err != nil {
		return err
	}
	f.CPU = (after - before) / lasted
	want := n * len(watchers)
	for end := time.Now().Add(time.Minute); e.heard() < want && time.Now().Before(end); {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.Missing = want - len(e.took); len(e.took) == 0 {
		return errors.New("no ztunnel heard of any change")
	}
	slices.Sort(e.took)
	at := func(q float64) float64 { return e.took[int(q*float64(len(e.took)-1))] }
	f.P50, f.P99, f.Max, f.Bytes = at(0.5), at(0.99), at(1), float64(e.bytes)/float64(want)
	return nil
}
