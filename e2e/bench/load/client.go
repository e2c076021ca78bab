package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const ioTimeout = 60 * time.Second

// session is one keep-alive connection.
type session struct {
	net.Conn
	addr string
	r    *bufio.Reader
	req  []byte
}

func dial(o options, body, want int64) (*session, error) {
	c, err := net.DialTimeout("tcp", o.addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	req := fmt.Appendf(nil, "POST /%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n", want, body)
	if body <= 64<<10 {
		req = append(req, pattern(0, body)...)
	}
	return &session{Conn: c, r: bufio.NewReaderSize(c, 4096), req: req}, nil
}

// do sends the prepared request and reads the whole answer, which must be 200.
func (s *session) do(rest int64) error {
	_ = s.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := s.Write(s.req); err != nil {
		return err
	}
	if err := fill(s, 0, rest); err != nil {
		return err
	}
	return s.receive()
}

// receive reads the next answer.
func (s *session) receive() error {
	status, err := s.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(status) < 12 || string(status[9:12]) != "200" {
		return fmt.Errorf("answer %q", status)
	}
	length, _, err := readHeader(s.r)
	if err != nil {
		return err
	}
	return verify(s, s.r, length)
}

// bulk moves o.bytes over o.streams connections and times the whole.
func bulk(o options) (result, error) {
	each := o.bytes / int64(o.streams)
	up, down := each, int64(0)
	if o.dir == "down" {
		up, down = 0, each
	}
	var wg sync.WaitGroup
	errs := make([]error, o.streams)
	start := time.Now()
	for i := range o.streams {
		wg.Go(func() {
			s, err := dial(o, up, down)
			if err != nil {
				errs[i] = err
				return
			}
			defer s.Close()
			rest := up
			if up <= 64<<10 {
				rest = 0
			}
			errs[i] = s.do(rest)
		})
	}
	wg.Wait()
	return result{Seconds: time.Since(start).Seconds(), Bytes: each * int64(o.streams)}, errors.Join(errs...)
}

// maximum sends the next request as soon as the last is answered, on o.conns connections.
func maximum(o options) (result, error) {
	ss, err := sessions(o)
	if err != nil {
		return result{}, err
	}
	defer closeAll(ss)
	return collect(ss, func(s *session, start time.Time) (lat []time.Duration, err error) {
		for time.Since(start) < o.dur {
			t := time.Now()
			if err := s.do(0); err != nil {
				return lat, err
			}
			lat = append(lat, time.Since(t))
		}
		return lat, nil
	}), nil
}

// sessions opens o.conns connections and uses each once: the path is warm before a clock starts.
func sessions(o options) ([]*session, error) {
	ss := make([]*session, 0, o.conns)
	for range o.conns {
		s, err := dial(o, int64(o.size), int64(o.size))
		if err == nil {
			ss = append(ss, s)
			err = s.do(0)
		}
		if err != nil {
			closeAll(ss)
			return nil, err
		}
	}
	return ss, nil
}

func closeAll(ss []*session) {
	for _, s := range ss {
		_ = s.Close()
	}
}

// collect runs one for each connection at once and sums up their latencies.
func collect(ss []*session, one func(*session, time.Time) ([]time.Duration, error)) result {
	start := time.Now()
	all, bad := together(ss, one)
	r := result{Seconds: time.Since(start).Seconds(), Requests: int64(len(all)), Errors: bad, Conns: len(ss)}
	r.quantiles(all)
	return r
}

// together runs one for each connection at once, and returns all latencies and how many failed.
func together(ss []*session, one func(*session, time.Time) ([]time.Duration, error)) (all []time.Duration, bad int64) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for _, s := range ss {
		wg.Go(func() {
			lat, err := one(s, start)
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, lat...); err != nil {
				bad++
				fmt.Fprintln(os.Stderr, "weft-load:", err)
			}
		})
	}
	wg.Wait()
	return all, bad
}

func (r *result) quantiles(all []time.Duration) {
	if len(all) > 0 {
		slices.Sort(all)
		at := func(permille int) float64 { return float64(all[len(all)*permille/1000].Nanoseconds()) / 1e3 }
		r.P50us, r.P90us, r.P99us, r.P999us = at(500), at(900), at(990), at(999)
	}
}

// connect opens, asks once and closes, in o.conns loops.
func connect(o options) (result, error) {
	ctx, stop := context.WithTimeout(context.Background(), o.dur)
	defer stop()
	return visits(ctx, o, func() {}), nil
}

// visits opens, asks once and closes until ctx ends; it calls going after each.
func visits(ctx context.Context, o options, going func()) result {
	var n, bad atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range o.conns {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := visit(o); err != nil {
					if bad.Add(1) == 1 {
						fmt.Fprintln(os.Stderr, "weft-load: the first error, after", n.Load(), "connections:", err)
					}
					time.Sleep(time.Millisecond)
					continue
				}
				n.Add(1)
				going()
			}
		})
	}
	wg.Wait()
	return result{Seconds: time.Since(start).Seconds(), Requests: n.Load(), Errors: bad.Load()}
}

// visit opens a connection, asks once and closes it.
func visit(o options) error {
	s, err := dial(o, int64(o.size), int64(o.size))
	if err != nil {
		return err
	}
	err = s.do(0)
	_ = s.Conn.(*net.TCPConn).SetLinger(0) // reset instead of FIN: no TIME_WAIT eats the port range
	s.Close()
	return err
}

// idle opens o.conns connections, uses each once, says so on stderr and holds them until stdin closes.
func idle(o options) (result, error) {
	start := time.Now()
	sem := make(chan struct{}, 32)
	ss := make([]*session, o.conns)
	var bad atomic.Int64
	var wg sync.WaitGroup
	for i := range ss {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			s, err := dial(o, 0, 0)
			if err == nil {
				err = errors.Join(s.SetDeadline(time.Now().Add(time.Minute)), s.do(0), s.SetDeadline(time.Time{}))
			}
			if err != nil {
				bad.Add(1)
				return
			}
			ss[i] = s
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	fmt.Fprintln(os.Stderr, "OPEN", o.conns-int(bad.Load()))
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, s := range ss {
		if s != nil {
			s.Close()
		}
	}
	return result{Seconds: took, Conns: o.conns - int(bad.Load()), Errors: bad.Load()}, nil
}
