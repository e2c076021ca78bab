// Command weft-load is the benchmark's application: a minimal HTTP/1.1 server and a load client.
//
// It speaks just enough HTTP/1.1 for a waypoint to route it (fixed lengths, keep-alive), with little CPU
// of its own, so that what is measured is the path. Every body is compared with the pattern that it has to
// hold. Results are one JSON object on standard output.
//
//	weft-load serve   -addr :9000
//	weft-load bulk    -addr HOST:PORT -streams 8 -bytes 1073741824 -dir up
//	weft-load rate    -addr HOST:PORT -rps 1000 -for 5s
//	weft-load max     -addr HOST:PORT -conns 64 -for 3s
//	weft-load connect -addr HOST:PORT -conns 8 -for 3s
//	weft-load idle    -addr HOST:PORT -conns 10000     (prints when open, holds until stdin closes)
//	weft-load cold    -addrs HOST:PORT,HOST:PORT       (connects once to each for every line on stdin)
//	weft-load noise   -addr HOST:PORT -kind uploads    (as much as it can, until stdin closes)
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	addr    string
	addrs   string
	streams int
	bytes   int64
	dir     string
	kind    string
	rps     int
	conns   int
	size    int
	dur     time.Duration
}

// result is what one run measured; zero fields do not apply.
type result struct {
	Seconds  float64 `json:"seconds"`
	Bytes    int64   `json:"bytes,omitempty"`
	Requests int64   `json:"requests,omitempty"`
	Errors   int64   `json:"errors"`
	P50us    float64 `json:"p50us,omitempty"`
	P90us    float64 `json:"p90us,omitempty"`
	P99us    float64 `json:"p99us,omitempty"`
	P999us   float64 `json:"p999us,omitempty"`
	Conns    int     `json:"conns,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: weft-load serve|bulk|rate|max|connect|idle [flags]")
		os.Exit(2)
	}
	var o options
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	fs.StringVar(&o.addr, "addr", ":9000", "address to serve or to call")
	fs.StringVar(&o.addrs, "addrs", "", "addresses to call, separated by commas (cold)")
	fs.IntVar(&o.streams, "streams", 1, "parallel bulk streams")
	fs.Int64Var(&o.bytes, "bytes", 1<<30, "bytes in all (bulk)")
	fs.StringVar(&o.dir, "dir", "up", "up (request bodies) or down (response bodies)")
	fs.StringVar(&o.kind, "kind", "uploads", "uploads or connections (noise)")
	fs.IntVar(&o.rps, "rps", 1000, "offered requests a second (rate)")
	fs.IntVar(&o.conns, "conns", 8, "connections")
	fs.IntVar(&o.size, "size", 1024, "bytes of request and of response body (rate, max, connect)")
	fs.DurationVar(&o.dur, "for", 3*time.Second, "duration (rate, max, connect)")
	if err := fs.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	runs := map[string]func(options) (result, error){
		"serve": serve, "bulk": bulk, "rate": rate, "max": maximum, "connect": connect, "idle": idle, "noise": noise, "cold": cold,
	}
	run, ok := runs[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "weft-load: unknown mode %q\n", os.Args[1])
		os.Exit(2)
	}
	r, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "weft-load:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}
