package hbone

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// The benchmarks carry TCP connections over loopback through two proxies of one process, with mutual TLS,
// once by this package and once by x/net/http2 written the plain way. CPU-s/GB and CPU-µs/op count the whole
// process, load generator included, so that their ratio understates the difference.

// carrier joins client connections accepted at its address to the application behind the tunnel.
type carrier func(b *testing.B, app string) (addr string)

var carriers = []struct {
	name  string
	start carrier
}{{"weft", weft}, {"xnet", xnet}}

func weft(b *testing.B, app string) string {
	w := newWorld(b, setup{handler: toApp(app)})
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
				s.Splice(context.Background(), c.(*net.TCPConn), SpliceOptions{})
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

// BenchmarkThroughput moves b.N MiB from client to application over 1 or 8 connections.
func BenchmarkThroughput(b *testing.B) {
	for _, streams := range []int{1, 8} {
		for _, k := range carriers {
			b.Run(fmt.Sprintf("streams=%d/%s", streams, k.name), func(b *testing.B) {
				sink := listen(b)
				go serve(sink, func(c net.Conn) {
					n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
					fmt.Fprintf(c, "%d", n)
				})
				addr := k.start(b, sink.Addr().String())
				b.SetBytes(1 << 20)
				b.ResetTimer()
				before := cpu()
				var wg sync.WaitGroup
				for i := range streams {
					wg.Go(func() { push(b, addr, (b.N+i)/streams) })
				}
				wg.Wait()
				b.ReportMetric(float64(cpu()-before)/1e9/(float64(b.N)/1024), "CPU-s/GB")
			})
		}
	}
}

func push(b *testing.B, addr string, mib int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 256<<10)
	for range mib * 4 {
		if _, err := c.Write(buf); err != nil {
			b.Error(err)
			return
		}
	}
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != fmt.Sprint(mib<<20) {
		b.Errorf("arrived: %q of %d, %v", got, mib<<20, err)
	}
}

func serve(l net.Listener, f func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			f(c)
		}()
	}
}

// BenchmarkRequests sends 1 KB and gets it back over open connections, from 1 or 64 clients.
func BenchmarkRequests(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, k := range carriers {
			b.Run(fmt.Sprintf("clients=%d/%s", clients, k.name), func(b *testing.B) {
				app := listen(b)
				go serve(app, func(c net.Conn) { copyOver(c, c) })
				addr := k.start(b, app.Addr().String())
				ends := make([]net.Conn, clients)
				for i := range ends {
					c, err := net.Dial("tcp", addr)
					must(b, err)
					defer c.Close()
					c.SetDeadline(time.Now().Add(time.Minute))
					ends[i] = c
					ask(b, c)
				}
				b.ResetTimer()
				before := cpu()
				var wg sync.WaitGroup
				for i, c := range ends {
					wg.Go(func() {
						for range (b.N + i) / clients {
							ask(b, c)
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "CPU-µs/op")
			})
		}
	}
}

func ask(b *testing.B, c net.Conn) {
	var buf [1024]byte
	if _, err := c.Write(buf[:]); err != nil {
		b.Error(err)
	}
	if _, err := io.ReadFull(c, buf[:]); err != nil {
		b.Error(err)
	}
}

// BenchmarkConnections opens a connection, exchanges 100 bytes and closes it, eight at a time.
func BenchmarkConnections(b *testing.B) {
	for _, k := range carriers {
		b.Run(k.name, func(b *testing.B) {
			app := listen(b)
			go serve(app, func(c net.Conn) { copyOver(c, c) })
			addr := k.start(b, app.Addr().String())
			b.ResetTimer()
			before := cpu()
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for range (b.N + i) / 8 {
						once(b, addr)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "CPU-µs/op")
		})
	}
}

func once(b *testing.B, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	var buf [100]byte
	if _, err = c.Write(buf[:]); err == nil {
		_, err = io.ReadFull(c, buf[:])
	}
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkBesideBulk asks for 1 KB while two bulk streams fill the same tunnel connection.
func BenchmarkBesideBulk(b *testing.B) {
	for _, k := range carriers {
		b.Run(k.name, func(b *testing.B) {
			app := listen(b)
			go serve(app, func(c net.Conn) {
				first := make([]byte, 1)
				if io.ReadFull(c, first); first[0] == 'b' {
					io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
					return
				}
				copyOver(c, c)
			})
			addr := k.start(b, app.Addr().String())
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { fill(b, addr, stop) })
			}
			c, err := net.Dial("tcp", addr)
			must(b, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			c.Write([]byte("e"))
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			for i := range b.N {
				t := time.Now()
				ask(b, c)
				took[i] = time.Since(t)
			}
			b.StopTimer()
			close(stop)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

func fill(b *testing.B, addr string, stop chan struct{}) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	c.Write([]byte("b"))
	buf := make([]byte, 256<<10)
	for {
		select {
		case <-stop:
			return
		default:
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
	}
}
