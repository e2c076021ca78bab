package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// cold connects once to each of o.addrs, all at the same time, for every line on stdin, and says DONE after it: whoever
// writes the lines has seen to it that nothing between is warm. Seconds are those of the passes alone.
func cold(o options) (result, error) { return passes(o, os.Stdin, os.Stderr) }

func passes(o options, lines io.Reader, done io.Writer) (sum result, err error) {
	var all []time.Duration
	in := bufio.NewScanner(lines)
	for in.Scan() {
		start := time.Now()
		var ss []*session
		for addr := range strings.SplitSeq(o.addrs, ",") {
			ss = append(ss, &session{addr: addr})
		}
		times, bad := together(ss, func(s *session, start time.Time) ([]time.Duration, error) {
			one := o
			one.addr = s.addr
			err := visit(one)
			return []time.Duration{time.Since(start)}, err
		})
		sum.Seconds += time.Since(start).Seconds()
		sum.Errors += bad
		all = append(all, times...)
		fmt.Fprintln(done, "DONE")
	}
	sum.Requests = int64(len(all)) - sum.Errors
	sum.quantiles(all)
	return sum, in.Err()
}
