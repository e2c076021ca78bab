package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestSummarizeFindsOutages(t *testing.T) {
	start := time.Unix(100, 0)
	at := func(ms int, status int) result {
		sent := start.Add(time.Duration(ms) * time.Millisecond)
		r := result{sent: sent, done: sent.Add(10 * time.Millisecond), status: status, version: "v1"}
		if status == 0 {
			r.err, r.version = errors.New("refused"), ""
		}
		return r
	}
	// Out of order on purpose: results come in as they end.
	rep := summarize(start, []result{at(0, 200), at(100, 503), at(300, 200), at(200, 0), at(400, 200), at(500, 0)}, 5*time.Millisecond)
	if rep.Requests != 6 || rep.OK != 3 || rep.Statuses["503"] != 1 || rep.Statuses["error"] != 2 || rep.Slow != 4 || rep.Versions["v1"] != 4 {
		t.Errorf("counts: %+v", rep)
	}
	each := samples(start, []result{at(100, 503), at(0, 200), {sent: start, done: start.Add(time.Second), err: context.DeadlineExceeded}})
	if got := fmt.Sprint(each); got != "[{0 10 200 0} {0 1000 0 28} {100 10 503 0}]" {
		t.Errorf("each: %s", got)
	}
	want := []outage{{AtMS: 100, LastMS: 210, Failed: 2}, {AtMS: 500, LastMS: 10, Failed: 1, Open: true}}
	if fmt.Sprint(rep.Outages) != fmt.Sprint(want) {
		t.Errorf("outages %v, want %v", rep.Outages, want)
	}
}

func TestRunSendsWhatIsAsked(t *testing.T) {
	var fresh atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"version": %q}`, r.Header.Get("x-v"))
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			fresh.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	all := run(context.Background(), loadOptions{url: srv.URL, count: 30, workers: 1, limit: time.Second, fresh: true, header: http.Header{"X-V": {"v7"}}})
	if rep := summarize(time.Now(), all, time.Hour); rep.OK != 30 || rep.Versions["v7"] != 30 || fresh.Load() != 30 {
		t.Errorf("%+v over %d connections", rep, fresh.Load())
	}
	all = run(context.Background(), loadOptions{url: srv.URL, duration: 200 * time.Millisecond, every: 10 * time.Millisecond, workers: 2, limit: time.Second})
	if n := len(all); n < 2 || n > 21 {
		t.Errorf("%d requests in 200 ms at one each 10 ms", n)
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, 6: &net.DNSError{}, 7: fmt.Errorf("dial: %w", syscall.ECONNREFUSED), 22: fmt.Errorf("x: %w", errStatus),
		28: context.DeadlineExceeded, 56: fmt.Errorf("read: %w", syscall.ECONNRESET), 1: errors.New("other"),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
