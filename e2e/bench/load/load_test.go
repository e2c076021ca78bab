package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// The load generator measures others, so it is tested against its own server over loopback.
func TestModes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	o := options{addr: l.Addr().String(), streams: 2, bytes: 8 << 20, conns: 4, size: 1024, rps: 200, dur: 200 * time.Millisecond}
	for _, dir := range []string{"up", "down"} {
		o.dir = dir
		if r, err := bulk(o); err != nil || r.Bytes != o.bytes {
			t.Errorf("bulk %s: %+v, %v", dir, r, err)
		}
	}
	for name, run := range map[string]func(options) (result, error){"rate": rate, "max": maximum, "connect": connect} {
		if r, err := run(o); err != nil || r.Errors != 0 || r.Requests == 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, kind := range []string{"uploads", "connections"} {
		ctx, stop := context.WithCancel(t.Context())
		o.kind = kind
		if r, err := makeNoise(ctx, o, stop); err != nil || r.Errors != 0 || r.Bytes+r.Requests == 0 {
			t.Errorf("noise of %s: %+v, %v", kind, r, err)
		}
	}
	o.addrs = o.addr + "," + o.addr
	var done strings.Builder
	if r, err := passes(o, strings.NewReader("\n\n\n"), &done); err != nil || r.Errors != 0 || r.Requests != 6 || r.P50us <= 0 || done.String() != "DONE\nDONE\nDONE\n" {
		t.Errorf("cold: %+v, %v, said %q", r, err, done.String())
	}
	l.Close()
	if _, err := bulk(o); err == nil {
		t.Error("bulk against a closed port reports no error")
	}
}
