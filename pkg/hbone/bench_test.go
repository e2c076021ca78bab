package hbone

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// The benchmarks carry TCP connections over loopback through two proxies in this process, with mutual TLS,
// by each driver of this package and by x/net/http2 written the plain way. Client and server applications live in
// another process (load_test.go), so that CPU time and allocations are the two proxies'.

// carrier joins client connections accepted at its address to the application behind the tunnel.
type carrier func(b *testing.B, app string) (addr string)

var carriers = []struct {
	name  string
	start carrier
}{{"stdlib", weft}, {"records", weftRecords}, {"xnet", xnet}}

func weft(b *testing.B, app string) string        { return weftOn(b, app, "stdlib") }
func weftRecords(b *testing.B, app string) string { return weftOn(b, app, "records") }

func weftOn(b *testing.B, app, driver string) string {
	w := newWorld(b, setup{handler: toApp(app), driver: driver})
	l := listen(b)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				s, err := w.pool.Open(context.Background(), w.key, "10.0.0.1:80", nil)
				if err != nil {
					c.Close()
					return
				}
				s.Start(context.Background(), c.(*net.TCPConn), SpliceOptions{}, func(error) {})
			}()
		}
	}()
	return l.Addr().String()
}

//nolint:staticcheck // deprecated, and what people would take
func xnet(b *testing.B, app string) string {
	ca := newAuthority(b)
	end := time.Now().Add(time.Hour)
	scfg, ccfg := ca.serverTLS(ca.leaf(b, serverID, end)), ca.clientTLS(ca.leaf(b, clientID, end))
	srv := &http2.Server{MaxConcurrentStreams: 200, MaxReadFrameSize: 1 << 20, MaxUploadBufferPerStream: 1 << 20, MaxUploadBufferPerConnection: 16 << 20}
	tl := listen(b)
	go func() {
		for {
			c, err := tl.Accept()
			if err != nil {
				return
			}
			b.Cleanup(func() { c.Close() })
			go func() {
				t := tls.Server(c, scfg)
				if t.Handshake() == nil {
					srv.ServeConn(t, &http2.ServeConnOpts{Handler: xnetHandler(app)})
				}
			}()
		}
	}()
	tr := &http2.Transport{MaxReadFrameSize: 1 << 20, TLSClientConfig: ccfg}
	b.Cleanup(tr.CloseIdleConnections)
	l := listen(b)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, _ := http.NewRequest("CONNECT", "https://"+tl.Addr().String(), io.NopCloser(struct{ io.Reader }{c}))
				req.Host = "10.0.0.1:80"
				res, err := tr.RoundTrip(req)
				if err != nil {
					return
				}
				copyOver(c, res.Body)
				res.Body.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func xnetHandler(app string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", app)
		if err != nil {
			w.WriteHeader(503)
			return
		}
		defer up.Close()
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		go func() {
			copyOver(up, r.Body)
			up.(*net.TCPConn).CloseWrite()
		}()
		copyOver(flushed{w}, up)
	})
}

type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.w.(http.Flusher).Flush()
	return n, err
}

var copyBufs = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func copyOver(w io.Writer, r io.Reader) {
	b := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(b)
	io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *b)
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bench starts a carrier in front of the load's applications.
func bench(b *testing.B, start carrier) (l *load, addr string) {
	l = startLoad(b)
	return l, start(b, l.app)
}

// BenchmarkThroughput moves b.N MiB over 1 or 8 connections, from the client or to it.
func BenchmarkThroughput(b *testing.B) {
	for _, streams := range []int{1, 8} {
		for _, way := range []string{"up", "down"} {
			for _, k := range carriers {
				if way == "down" && k.name == "xnet" {
					continue // the plain way does not end there
				}
				b.Run(fmt.Sprintf("streams=%d/%s/%s", streams, way, k.name), func(b *testing.B) {
					l, addr := bench(b, k.start)
					l.do("move %s %s %d %d", addr, way, streams, streams)
					b.SetBytes(1 << 20)
					b.ResetTimer()
					before := cpu()
					l.do("move %s %s %d %d", addr, way, streams, b.N)
					b.ReportMetric(float64(cpu()-before)/1e9/(float64(b.N)/1024), "CPU-s/GB")
				})
			}
		}
	}
}

// BenchmarkRequests sends 1 KB and gets it back over open connections, from 1 or 64 clients.
func BenchmarkRequests(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, k := range carriers {
			b.Run(fmt.Sprintf("clients=%d/%s", clients, k.name), func(b *testing.B) {
				l, addr := bench(b, k.start)
				l.do("open %s %d", addr, clients)
				b.ResetTimer()
				before := cpu()
				l.quantiles(b, l.do("ask %d", b.N))
				b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "CPU-µs/op")
			})
		}
	}
}

// BenchmarkConnections opens a connection, exchanges 100 bytes and closes it, eight at a time.
func BenchmarkConnections(b *testing.B) {
	for _, k := range carriers {
		b.Run(k.name, func(b *testing.B) {
			l, addr := bench(b, k.start)
			l.do("visit %s 8", addr)
			b.ResetTimer()
			before := cpu()
			l.do("visit %s %d", addr, b.N)
			b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "CPU-µs/op")
		})
	}
}

// BenchmarkBesideBulk asks for 1 KB while two bulk streams fill the same tunnel connection.
func BenchmarkBesideBulk(b *testing.B) {
	for _, k := range carriers {
		b.Run(k.name, func(b *testing.B) {
			l, addr := bench(b, k.start)
			l.do("fill %s 2", addr)
			l.do("open %s 1", addr)
			l.do("ask 100") // one tunnel carries them all, and knows that small messages pass
			l.do("sent")
			b.ResetTimer()
			before, bytes := cpu(), 0.0
			l.quantiles(b, l.do("ask %d", b.N))
			fmt.Sscanf(l.do("sent"), "ok %g", &bytes)
			b.ReportMetric(float64(cpu()-before)/1e9/(bytes/(1<<30)), "CPU-s/GB")
		})
	}
}
