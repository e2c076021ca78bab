package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"sync"
	"time"
)

// result is what one request came to.
type result struct {
	sent, done time.Time
	status     int    // 0 when there was no answer
	version    string // the field "version" of a JSON answer
	err        error
}

func (r result) ok() bool { return r.status >= 200 && r.status < 400 }

// report is printed as JSON. Times are in milliseconds.
type report struct {
	Requests int            `json:"requests"`
	OK       int            `json:"ok"`
	Statuses map[string]int `json:"statuses"`           // by HTTP status, or "error"
	Versions map[string]int `json:"versions,omitempty"` // by the answer's field version
	Errors   map[string]int `json:"errors,omitempty"`
	P50      float64        `json:"p50ms"`
	P90      float64        `json:"p90ms"`
	P99      float64        `json:"p99ms"`
	Slow     int            `json:"slow"` // answers that took at least -slow
	Seconds  float64        `json:"seconds"`
	// Outages are the stretches in which requests failed: start after the beginning, and how long
	// until one succeeded again.
	Outages []outage `json:"outages,omitempty"`
	// Start is when the first request was sent; Each, with -each, are all requests by the time of sending.
	Start time.Time `json:"start"`
	Each  []sample  `json:"each,omitempty"`
}

// sample is one request.
type sample struct {
	AtMS   float64 `json:"atMs"` // sent, from the start
	TookMS float64 `json:"tookMs"`
	Status int     `json:"status,omitempty"`
	Exit   int     `json:"exit,omitempty"` // how it failed, in the numbers of exitCode
}

type outage struct {
	AtMS   float64 `json:"atMs"`
	LastMS float64 `json:"lastMs"`
	Failed int     `json:"failed"`
	Open   bool    `json:"open,omitempty"` // no success followed
}

type loadOptions struct {
	url                    string
	count, workers         int
	every, duration, limit time.Duration
	slow                   time.Duration
	fresh, each            bool
	header                 http.Header
}

func loadCommand(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ExitOnError)
	h, o := headers{}, loadOptions{}
	fs.Var(h, "H", "request header, name:value")
	fs.IntVar(&o.count, "n", 0, "requests (default 100, or as many as -duration allows)")
	fs.IntVar(&o.workers, "c", 4, "requests at a time")
	fs.DurationVar(&o.every, "every", 0, "start a request this often, instead of as fast as answers come")
	fs.DurationVar(&o.duration, "duration", 0, "stop after this time")
	fs.DurationVar(&o.limit, "timeout", 5*time.Second, "of one request")
	fs.DurationVar(&o.slow, "slow", 150*time.Millisecond, "count answers that take at least this long")
	fs.BoolVar(&o.fresh, "fresh", false, "a new connection for each request")
	fs.BoolVar(&o.each, "each", false, "also tell of each request")
	_ = fs.Parse(args)
	o.url, o.header = fs.Arg(0), http.Header(h)
	if o.url == "" {
		return fmt.Errorf("load: want a URL")
	}
	if o.count == 0 && o.duration == 0 {
		o.count = 100
	}
	start := time.Now()
	all := run(ctx, o)
	rep := summarize(start, all, o.slow)
	if o.each {
		rep.Each = samples(start, all)
	}
	return json.NewEncoder(out).Encode(rep)
}

// samples tells of each request, by the time of sending.
func samples(start time.Time, all []result) []sample {
	sort.SliceStable(all, func(i, j int) bool { return all[i].sent.Before(all[j].sent) })
	out := make([]sample, len(all))
	for i, r := range all {
		out[i] = sample{AtMS: ms(r.sent.Sub(start)), TookMS: ms(r.done.Sub(r.sent)), Status: r.status, Exit: exitCode(r.err)}
	}
	return out
}

// run sends the requests and returns their results in the order in which they ended.
func run(ctx context.Context, o loadOptions) []result {
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	tickets := make(chan struct{})
	go hand(ctx, o, tickets)
	client := &http.Client{Timeout: o.limit, Transport: &http.Transport{DisableKeepAlives: o.fresh, MaxIdleConnsPerHost: o.workers}}
	var mu sync.Mutex // protects all
	var all []result
	var wg sync.WaitGroup
	for range o.workers {
		wg.Go(func() {
			for range tickets {
				r := one(client, o)
				mu.Lock()
				all = append(all, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// hand gives out one ticket for each request to send.
func hand(ctx context.Context, o loadOptions, tickets chan<- struct{}) {
	defer close(tickets)
	var pace <-chan time.Time
	if o.every > 0 {
		t := time.NewTicker(o.every)
		defer t.Stop()
		pace = t.C
	}
	for i := 0; o.count == 0 || i < o.count; i++ {
		if pace != nil {
			select {
			case <-pace:
			case <-ctx.Done():
				return
			}
		}
		select {
		case tickets <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

func one(client *http.Client, o loadOptions) result {
	r := result{sent: time.Now()}
	req, err := http.NewRequest(http.MethodGet, o.url, nil)
	if err != nil {
		r.err, r.done = err, time.Now()
		return r
	}
	req.Header = o.header.Clone()
	resp, err := client.Do(req)
	if err != nil {
		r.err, r.done = err, time.Now()
		return r
	}
	defer resp.Body.Close()
	var answer struct{ Version string }
	body, err := io.ReadAll(resp.Body)
	r.done = time.Now()
	if err != nil {
		r.err = err
		return r
	}
	_ = json.Unmarshal(body, &answer) // not every answer is JSON
	r.status, r.version = resp.StatusCode, answer.Version
	return r
}

// summarize counts; pure.
func summarize(start time.Time, all []result, slow time.Duration) report {
	rep := report{Start: start, Requests: len(all), Statuses: map[string]int{}, Versions: map[string]int{}, Errors: map[string]int{}}
	var times []float64
	sort.Slice(all, func(i, j int) bool { return all[i].done.Before(all[j].done) })
	var down *outage
	for _, r := range all {
		took := r.done.Sub(r.sent)
		if r.err != nil {
			rep.Statuses["error"]++
			rep.Errors[r.err.Error()]++
		} else {
			rep.Statuses[strconv.Itoa(r.status)]++
			times = append(times, ms(took))
			if took >= slow {
				rep.Slow++
			}
		}
		if r.version != "" {
			rep.Versions[r.version]++
		}
		switch {
		case r.ok():
			rep.OK++
			if down != nil {
				down.LastMS = ms(r.done.Sub(start)) - down.AtMS
				rep.Outages, down = append(rep.Outages, *down), nil
			}
		case down == nil:
			down = &outage{AtMS: ms(r.sent.Sub(start)), Failed: 1}
		default:
			down.Failed++
		}
		rep.Seconds = r.done.Sub(start).Seconds()
	}
	if down != nil {
		down.LastMS, down.Open = rep.Seconds*1000-down.AtMS, true
		rep.Outages = append(rep.Outages, *down)
	}
	sort.Float64s(times)
	rep.P50, rep.P90, rep.P99 = quantile(times, .5), quantile(times, .9), quantile(times, .99)
	return rep
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
