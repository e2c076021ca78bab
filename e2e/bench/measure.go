package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/lab"
)

// test is one thing that is measured over each path.
type test struct {
	name string
	// args of weft-load, mode first; nil: it is the test of first connections, over the paths that have them.
	args func(options) []string
	// values that are reported, in order; the first judges whether a round's direct path strays.
	values []value
}

// value is one figure of a test.
type value struct {
	name, unit string
	of         func(result, cost) float64
	// overhead says that the figure is only for proxies: the direct path has none.
	overhead bool
	// machine marks the whole machine's cost, from which the direct path's is taken away in the report.
	machine bool
}

var (
	speed   = value{name: "speed", unit: "Gb/s", of: func(r result, _ cost) float64 { return float64(r.Bytes) * 8 / r.Seconds / 1e9 }}
	perGB   = value{name: "CPU", unit: "s/GB", overhead: true, of: func(r result, c cost) float64 { return c.proxies / (float64(r.Bytes) / 1e9) }}
	mPerGB  = value{name: "machine", unit: "s/GB", machine: true, of: func(r result, c cost) float64 { return c.machine / (float64(r.Bytes) / 1e9) }}
	perReq  = value{name: "CPU", unit: "µs/request", overhead: true, of: func(r result, c cost) float64 { return c.proxies * 1e6 / float64(r.Requests) }}
	mPerReq = value{name: "machine", unit: "µs/request", machine: true, of: func(r result, c cost) float64 { return c.machine * 1e6 / float64(r.Requests) }}
)

func perSecond(name string) value {
	return value{name: name, unit: "/s", of: func(r result, _ cost) float64 { return float64(r.Requests) / r.Seconds }}
}

func latency(name string, of func(result) float64) value {
	return value{name: name, unit: "µs", of: func(r result, _ cost) float64 { return of(r) }}
}

var tests = []test{
	bulkTest("up1", "up", 1), bulkTest("up8", "up", 8), bulkTest("down1", "down", 1), bulkTest("down8", "down", 8),
	{"rate", timed("rate", "-rps", "1000", "-conns", "8"), []value{
		latency("p50", func(r result) float64 { return r.P50us }), latency("p90", func(r result) float64 { return r.P90us }),
		latency("p99", func(r result) float64 { return r.P99us }), latency("p99.9", func(r result) float64 { return r.P999us }), perReq, mPerReq,
	}},
	{"max", timed("max", "-conns", "64"), []value{perSecond("requests"), perReq, mPerReq}},
	{"connect", timed("connect", "-conns", "8"), []value{perSecond("connections"), perReq, mPerReq}},
	{"cold", nil, []value{perSecond("connections"), latency("p50", func(r result) float64 { return r.P50us }), perReq, mPerReq}},
}

func bulkTest(name, dir string, streams int) test {
	return test{name, func(o options) []string {
		return []string{"bulk", "-dir", dir, "-streams", fmt.Sprint(streams), "-bytes", fmt.Sprint(o.bytes)}
	}, []value{speed, perGB, mPerGB}}
}

func timed(args ...string) func(options) []string {
	return func(o options) []string {
		return append(args[:len(args):len(args)], "-for", fmt.Sprintf("%gs", o.seconds))
	}
}

func testNames() []string {
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
	}
	return names
}

// measureRounds goes through all tests and paths, round by round, until all are done or time is up.
func (r *report) measureRounds(ctx context.Context, w *world) error {
	var longest time.Duration
	for round := range w.o.rounds {
		began := time.Now()
		if w.o.limit > 0 && round > 0 && began.Add(longest).Sub(r.When) > w.o.limit {
			say("only %d of %d rounds: another would go beyond %s", round, w.o.rounds, w.o.limit)
			break
		}
		r.Rounds = round + 1
		say("round %d of %d", round+1, w.o.rounds)
		for _, t := range tests {
			if !wanted(w.o.tests, t.name) {
				continue
			}
			for i := range w.paths { // another path first in each round
				p := w.paths[(i+round)%len(w.paths)]
				if t.args == nil && len(p.cold) == 0 {
					continue
				}
				if err := r.measureOne(ctx, w, t, p, round); err != nil {
					return err
				}
			}
		}
		longest = max(longest, time.Since(began))
	}
	return nil
}

func (r *report) measureOne(ctx context.Context, w *world, t test, p *path, round int) error {
	before, err := p.spent()
	if err != nil {
		return err
	}
	var res result
	if t.args == nil {
		res, err = w.cold(ctx, p)
	} else {
		args := t.args(w.o)
		res, err = w.load(ctx, p, args[0], args[1:]...)
	}
	if err != nil {
		return err
	}
	now, err := p.spent()
	if err != nil {
		return err
	}
	for _, v := range t.values {
		if !v.overhead || len(p.cgroups) > 0 {
			r.add(t.name, v, p.name, round, v.of(res, now.since(before)))
		}
	}
	return nil
}

// measureIdle opens connections that then do nothing, and compares the proxies' memory before and after.
func (r *report) measureIdle(ctx context.Context, w *world) error {
	for _, p := range w.paths {
		if len(p.cgroups) == 0 || p.name == "same" { // no connection of theirs is in a proxy
			continue
		}
		n := w.idleOver(p)
		say("%d idle connections over %s", n, p.name)
		if err := w.fresh(ctx, p); err != nil {
			return err
		}
		before, err := p.resident()
		if err != nil {
			return err
		}
		after, err := w.holdIdle(ctx, p, n)
		if err != nil {
			return fmt.Errorf("idle connections over %s: %w", p.name, err)
		}
		r.add("idle", value{name: "memory", unit: "KB/connection"}, p.name, 0, float64(after-before)/1024/float64(n))
	}
	for _, p := range w.paths {
		if err := w.warm(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// fresh starts the ztunnels again and waits until the path answers: memory that an earlier test made them
// grow by would hide what the next one needs. Peers have seen no test of idle connections before.
func (w *world) fresh(ctx context.Context, p *path) error {
	if p.name == "l4" || p.name == "l7" {
		for _, node := range []string{"n1", "n2"} {
			if _, err := lab.Kill(w.lab, "ztunnel/"+node); err != nil {
				return err
			}
		}
	}
	if err := w.warm(ctx, p); err != nil {
		return err
	}
	return pause(ctx, 2*time.Second)
}

// idleOver is how many connections a path can be asked to hold: a peer has two descriptors for each in one process, which
// may not have as many as it likes.
func (w *world) idleOver(p *path) int {
	var files unix.Rlimit
	if p.name == "l4" || p.name == "l7" || unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return w.o.idle
	}
	return int(min(uint64(w.o.idle), (files.Max-min(files.Max, 1000))/2)) //nolint:gosec // not above idle
}

// holdIdle returns the proxies' memory while n connections are open, some seconds after they were made.
func (w *world) holdIdle(ctx context.Context, p *path, n int) (int64, error) {
	cmd := w.inClient(ctx, p, "idle", "-addr", p.addr, "-conns", fmt.Sprint(n))
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(errs).ReadString('\n')
	if err != nil {
		return 0, err
	}
	if want := fmt.Sprintf("OPEN %d", n); strings.TrimSpace(line) != want {
		rest, _ := io.ReadAll(io.LimitReader(errs, 4096))
		return 0, fmt.Errorf("want %q, have %q %s", want, strings.TrimSpace(line), rest)
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return 0, err
	}
	return p.resident()
}
