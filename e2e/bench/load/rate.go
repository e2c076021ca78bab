package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// rate offers o.rps requests a second, spread over o.conns keep-alive connections in turn, whether or not the
// ones before have been answered: an open loop. Latencies count from the moment at which each was due, so that
// a stall counts for all that come behind it.
func rate(o options) (result, error) {
	ss, err := sessions(o)
	if err != nil {
		return result{}, err
	}
	defer closeAll(ss)
	asked := make([]chan time.Time, len(ss)) // when the requests under way were due, in order
	of := map[*session]chan time.Time{}
	for i, s := range ss {
		asked[i] = make(chan time.Time, int(o.dur.Seconds()*float64(o.rps))/len(ss)+1)
		of[s] = asked[i]
	}
	// The thread that sleeps in the kernel keeps a share of Go's scheduler meanwhile.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1))
	go pace(o, ss, asked)
	return collect(ss, func(s *session, _ time.Time) (lat []time.Duration, err error) {
		for due := range of[s] {
			_ = s.SetReadDeadline(time.Now().Add(ioTimeout))
			if err := s.receive(); err != nil {
				return lat, err
			}
			lat = append(lat, time.Since(due))
		}
		return lat, nil
	}), nil
}

// pace writes each request when it is due. It sleeps in the kernel: the runtime's timers are late by up to a
// millisecond, more than what is measured.
func pace(o options, ss []*session, asked []chan time.Time) {
	runtime.LockOSThread() // and never unlocks: the thread, with its slack, ends here
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	start := time.Now().Add(time.Millisecond)
	gap := time.Second / time.Duration(o.rps)
	for i := 0; time.Duration(i)*gap < o.dur; i++ {
		due := start.Add(time.Duration(i) * gap)
		for d := time.Until(due); d > 0; d = time.Until(due) {
			left := unix.NsecToTimespec(d.Nanoseconds())
			_ = unix.Nanosleep(&left, nil) // once more where a signal cut it short
		}
		s := ss[i%len(ss)]
		_ = s.SetWriteDeadline(time.Now().Add(ioTimeout))
		asked[i%len(ss)] <- due
		if _, err := s.Write(s.req); err != nil {
			_ = s.Close() // its reader tells
		}
	}
	for _, c := range asked {
		close(c)
	}
}
