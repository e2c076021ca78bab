package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/weftmesh/weft/e2e/bench/profile"
)

// scene is what the ztunnels are profiled at.
type scene struct {
	name, label string
	args        []string // of weft-load's noise; nil: 1,000 requests a second
	bulk        bool     // counted in GB, not in requests
}

var scenes = []scene{
	{name: "up1", label: "1 stream up", args: []string{"-kind", "uploads", "-streams", "1"}, bulk: true},
	{name: "rate", label: "1 KB requests, 1,000/s"},
	{name: "connect", label: "new connections, 8 loops", args: []string{"-kind", "connections", "-conns", "8"}},
	{name: "storm", label: "new connections, 64 loops", args: []string{"-kind", "connections", "-conns", "64"}},
}

// profiled is what was found at a scene, of both ztunnels together.
type profiled struct {
	Scene string `json:"scene"`
	Label string `json:"label"`
	Unit  string `json:"unit"` // GB or request
	// Cost of a unit: CPU-seconds a GB, or CPU-µs a request.
	Cost float64 `json:"cost"`
	// Shares of the CPU profile, by kind.
	Shares map[string]float64 `json:"shares"`
	// Kernel is what perf saw in the kernel, by kind, as shares of all CPU time; nil: there is no perf.
	Kernel map[string]float64 `json:"kernel,omitempty"`
	// Calls are system calls for a unit.
	Calls map[string]float64 `json:"calls,omitempty"`
	// Waits tell how long goroutines that could run had to wait, by node and kind.
	Waits map[string]string `json:"waits"`

	merged *pprof.Profile
}

// profileSeconds is how long CPU profiles are, traceSeconds how long execution traces.
const (
	profileSeconds = 6
	traceSeconds   = 1
)

// goroutines that traces tell apart, by a function of theirs.
var goroutines = map[string]string{"shard": "hbone.(*shard)", "inbound": "ztunnel/inbound", "outbound": "ztunnel/outbound"}

func (r *report) profileAll(ctx context.Context, w *world) error {
	if err := os.MkdirAll(w.o.profile, 0o755); err != nil {
		return err
	}
	for _, s := range scenes {
		say("profiles: %s", s.label)
		one, err := w.profileScene(ctx, s)
		if err != nil {
			return fmt.Errorf("profile %s: %w", s.name, err)
		}
		r.Profiles = append(r.Profiles, one)
	}
	return nil
}

func (w *world) profileScene(ctx context.Context, s scene) (*profiled, error) {
	p := w.path("l4")
	one := &profiled{Scene: s.name, Label: s.label, Unit: "request", Waits: map[string]string{}}
	before, err := p.spent()
	if err != nil {
		return nil, err
	}
	end, err := w.play(ctx, p, s)
	if err != nil {
		return nil, err
	}
	calls, err := w.collect(ctx, p, s, one)
	res, endErr := end()
	after, spentErr := p.spent()
	if err := errors.Join(err, endErr, spentErr); err != nil {
		return nil, err
	}
	units, cost := float64(res.Requests), after.since(before).proxies*1e6
	if s.bulk {
		one.Unit, units, cost = "GB", float64(res.Bytes)/1e9, after.since(before).proxies
	}
	one.Cost = cost / units
	for name, n := range calls {
		calls[name] = n / profileSeconds / (units / res.Seconds)
	}
	one.Calls, one.Shares = calls, profile.Shares(one.merged)
	return one, nil
}

// play begins the load of a scene.
func (w *world) play(ctx context.Context, p *path, s scene) (end func() (result, error), err error) {
	if s.args != nil {
		return w.begin(ctx, p, s.args)
	}
	type answer struct {
		r   result
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := w.load(ctx, p, "rate", "-rps", "1000", "-conns", "8", "-for", fmt.Sprintf("%ds", profileSeconds+traceSeconds+4))
		done <- answer{r, err}
	}()
	return func() (result, error) {
		a := <-done
		return a.r, a.err
	}, pause(ctx, time.Second)
}

// collect takes profiles of both ztunnels, and has perf count for the same time; then it takes execution traces.
func (w *world) collect(ctx context.Context, p *path, s scene, one *profiled) (calls map[string]float64, err error) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		profiles []*pprof.Profile
		errs     []error
		procs    []int
	)
	for _, dir := range p.cgroups {
		procs = append(procs, pids(dir)...)
	}
	each := func(f func(node string) error) {
		for _, node := range []string{"n1", "n2"} {
			wg.Go(func() {
				err := f(node)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
	}
	wg.Go(func() { one.Kernel = inKernel(ctx, procs, filepath.Join(w.o.profile, s.name+".perf")) })
	wg.Go(func() { calls = countCalls(ctx, procs) })
	each(func(node string) error {
		file := filepath.Join(w.o.profile, s.name+"-"+node+".pprof")
		if err := w.fetch(ctx, node, fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds), file); err != nil {
			return err
		}
		prof, err := readProfile(file)
		mu.Lock()
		defer mu.Unlock()
		profiles = append(profiles, prof)
		return err
	})
	wg.Wait()
	each(func(node string) error {
		file := filepath.Join(w.o.profile, s.name+"-"+node+".trace")
		if err := w.fetch(ctx, node, fmt.Sprintf("/debug/pprof/trace?seconds=%d", traceSeconds), file); err != nil {
			return err
		}
		waits, err := readTrace(file)
		mu.Lock()
		defer mu.Unlock()
		for kind, wait := range waits {
			one.Waits[node+" "+kind] = wait.String()
		}
		return err
	})
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	one.merged, err = pprof.Merge(profiles)
	return calls, err
}

// ask asks a node's ztunnel.
func (w *world) ask(ctx context.Context, method, node, page string) (io.ReadCloser, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.lab.ZtunnelSocket(node))
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://ztunnel"+page, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("%s of %s: %s", page, node, res.Status)
	}
	return res.Body, nil
}

// fetch keeps a page of a node's ztunnel.
func (w *world) fetch(ctx context.Context, node, page, file string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := w.ask(ctx, http.MethodGet, node, page)
	if err != nil {
		return err
	}
	defer body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, body)
	return errors.Join(err, out.Close())
}

func readProfile(file string) (*pprof.Profile, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	p, err := pprof.Parse(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

func readTrace(file string) (map[string]*profile.Wait, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return profile.Waits(in, goroutines)
}
