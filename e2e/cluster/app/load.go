package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// statsAddress is where a load tells what it counted. It is on loopback, past any mesh.
const statsAddress = "127.0.0.1:8099"

// Count is what became of the calls of one kind to one target.
type Count struct {
	Sent   int `json:"sent"`
	OK     int `json:"ok"`
	Failed int `json:"failed"`
	// Broken counts long-lived connections that ended although the caller did not end them.
	Broken int `json:"broken"`
	// Errors are the first few different ones with their time.
	Errors []string `json:"errors,omitempty"`
	// LongestGap between two calls that went well, in milliseconds: how long the target was away.
	LongestGap int64 `json:"longestGapMs"`
	lastOK     time.Time
}

// counts are by "KIND=TARGET".
type counts struct {
	mu sync.Mutex // protects by and what it points to
	by map[string]*Count
}

func (c *counts) note(key string, broken bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.by[key]
	n.Sent++
	now := time.Now()
	if err == nil {
		n.OK++
		if gap := now.Sub(n.lastOK).Milliseconds(); !n.lastOK.IsZero() && gap > n.LongestGap {
			n.LongestGap = gap
		}
		n.lastOK = now
		return
	}
	n.Failed++
	if broken {
		n.Broken++
	}
	if len(n.Errors) < 8 {
		n.Errors = append(n.Errors, now.UTC().Format("15:04:05.000 ")+err.Error())
	}
}

func (c *counts) json() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, _ := json.Marshal(c.by)
	return append(b, '\n')
}

// load makes calls until the context ends, prints the counts then, and serves them all the time. Kinds of call:
//
//	http=URL      a request on a connection of its own
//	keep=URL      a request on a connection that is kept
//	grpc=ADDRESS  an RPC (health check) on a connection of its own
//	tcp=ADDRESS   a line through a connection that lives as long as the load: the test of established connections
//
// -rate is in calls a second of each kind to each target. -warm waits until every target has answered once, and counts
// nothing before.
func load(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("load", flag.ExitOnError)
	rate := fs.Float64("rate", 50, "calls a second, for each target")
	timeout := fs.Duration("timeout", 5*time.Second, "of one call")
	mark := fs.String("mark", "", "text that every http, keep and tcp call carries and gets back: what a witness looks for")
	warm := fs.Bool("warm", true, "count nothing until the target has answered once")
	_ = fs.Parse(args)
	c := &counts{by: map[string]*Count{}}
	for _, target := range fs.Args() {
		c.by[target] = &Count{}
	}
	l, err := net.Listen("tcp", statsAddress)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(c.json())
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	var wg sync.WaitGroup
	for _, target := range fs.Args() {
		call, err := caller(target, *mark)
		if err != nil {
			return err
		}
		wg.Go(func() {
			pace(ctx, *rate, *timeout, *warm, call, func(broken bool, err error) { c.note(target, broken, err) })
		})
	}
	wg.Wait()
	_, err = os.Stdout.Write(c.json())
	return err
}

// call makes one call; broken tells that it lost a long-lived connection.
type call func(ctx context.Context) (broken bool, err error)

// pace calls at a rate. Short calls overlap when they are slow, so that one slow call does not hide others; a
// long-lived connection takes one at a time.
func pace(ctx context.Context, rate float64, timeout time.Duration, warm bool, do call, note func(bool, error)) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	slots := make(chan struct{}, 64)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		if warm {
			_, err := do(one)
			cancel()
			warm = err != nil
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { cancel(); <-slots }()
			note(do(one))
		})
	}
}

func caller(target, mark string) (call, error) {
	kind, to, ok := strings.Cut(target, "=")
	switch {
	case ok && kind == "http":
		return webCaller(marked(to, mark), &http.Transport{DisableKeepAlives: true}), nil
	case ok && kind == "keep":
		return webCaller(marked(to, mark), &http.Transport{MaxIdleConnsPerHost: 4}), nil
	case ok && kind == "grpc":
		return rpcCaller(to), nil
	case ok && kind == "tcp":
		return (&line{to: to, mark: mark}).call, nil
	}
	return nil, fmt.Errorf("target %q: want http=URL, keep=URL, grpc=ADDRESS or tcp=ADDRESS", target)
}

// marked lets the server say the mark, too.
func marked(url, mark string) string {
	if mark == "" {
		return url
	}
	return url + "?body=" + mark
}

func webCaller(url string, tr *http.Transport) call {
	client := &http.Client{Transport: tr}
	return func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err
		}
		res, err := client.Do(req)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return false, err
		}
		if res.StatusCode != http.StatusOK {
			return false, errors.New(res.Status)
		}
		return false, nil
	}
}
