package main

import (
	"bufio"
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
	r   *bufio.Reader
	req []byte
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

// rate offers o.rps requests a second, spread over o.conns keep-alive connections, and reports latencies
// from the moment each request was due (so a stall counts for all requests behind it).
func rate(o options) (result, error) {
	gap := time.Duration(o.conns) * time.Second / time.Duration(o.rps)
	return closedLoop(o, func(s *session, start time.Time, i int) ([]time.Duration, int64) {
		var lat []time.Duration
		var bad int64
		due := start.Add(gap * time.Duration(i) / time.Duration(o.conns))
		for ; due.Before(start.Add(o.dur)); due = due.Add(gap) {
			if d := time.Until(due); d > 0 {
				time.Sleep(d)
			}
			if err := s.do(0); err != nil {
				return lat, bad + 1
			}
			lat = append(lat, time.Since(due))
		}
		return lat, bad
	})
}

// maximum sends the next request as soon as the last is answered, on o.conns connections.
func maximum(o options) (result, error) {
	return closedLoop(o, func(s *session, start time.Time, _ int) ([]time.Duration, int64) {
		var lat []time.Duration
		for time.Since(start) < o.dur {
			t := time.Now()
			if err := s.do(0); err != nil {
				return lat, 1
			}
			lat = append(lat, time.Since(t))
		}
		return lat, 0
	})
}

func closedLoop(o options, one func(*session, time.Time, int) ([]time.Duration, int64)) (result, error) {
	ss := make([]*session, o.conns)
	for i := range ss {
		s, err := dial(o, int64(o.size), int64(o.size))
		if err != nil {
			return result{}, err
		}
		defer s.Close()
		if err := s.do(0); err != nil { // warm: the tunnel is up before the clock starts
			return result{}, err
		}
		ss[i] = s
	}
	var (
		mu  sync.Mutex
		all []time.Duration
		bad int64
		wg  sync.WaitGroup
	)
	start := time.Now()
	for i, s := range ss {
		wg.Go(func() {
			lat, n := one(s, start, i)
			mu.Lock()
			all, bad = append(all, lat...), bad+n
			mu.Unlock()
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	slices.Sort(all)
	r := result{Seconds: took, Requests: int64(len(all)), Errors: bad, Conns: o.conns}
	if len(all) > 0 {
		at := func(permille int) float64 { return float64(all[len(all)*permille/1000].Nanoseconds()) / 1e3 }
		r.P50us, r.P90us, r.P99us, r.P999us = at(500), at(900), at(990), at(999)
	}
	return r, nil
}

// connect opens, asks once and closes, in o.conns loops.
func connect(o options) (result, error) {
	var n, bad atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range o.conns {
		wg.Go(func() {
			for time.Since(start) < o.dur {
				s, err := dial(o, int64(o.size), int64(o.size))
				if err == nil {
					err = s.do(0)
					// reset instead of FIN: no TIME_WAIT eats the port range
					_ = s.Conn.(*net.TCPConn).SetLinger(0)
					s.Close()
				}
				if err != nil {
					if bad.Add(1) == 1 {
						fmt.Fprintln(os.Stderr, "weft-load: the first error, after", n.Load(), "connections:", err)
					}
					time.Sleep(time.Millisecond)
					continue
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return result{Seconds: time.Since(start).Seconds(), Requests: n.Load(), Errors: bad.Load()}, nil
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
				err = s.do(0)
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
