// Package admin is a ztunnel's pages for people and scripts, on loopback and on a unix socket only.
//
//	/config_dump      all that it knows and serves, as JSON
//	/connections      live connections
//	/certificates     identities, validity, state
//	/logging          log level; POST ?level=debug changes it
//	/metrics          Prometheus
//	/ready            200 once traffic can be carried
//	/version          what was built
//	/debug/pprof/     profiles
//	/retire           POST: new streams get new tunnel connections; old ones end with their streams
//	/quitquitquit     POST: drain and exit
//
// Nothing here shows a private key.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/profile"
	"github.com/weftmesh/weft/internal/version"
)

// Options of Handler.
type Options struct {
	// Dump returns what /config_dump shows, by section name.
	Dump func() map[string]any
	// Sections are pages of their own, by path without the slash: connections, certificates.
	Sections map[string]func() any
	// Ready returns nil once traffic can be carried, else what is missing.
	Ready func() error
	// Quit drains and exits. nil: /quitquitquit does not exist.
	Quit func()
	// Retire gives new streams new connections, and returns how many old ones that leaves to end. nil: /retire does not exist.
	Retire func() int
	// Level is the log level to show and change. Its zero value: the page does not exist.
	Level zap.AtomicLevel
	// Metrics to show. nil: none.
	Metrics prometheus.Gatherer
}

// Handler serves all pages.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	if o.Dump != nil {
		mux.HandleFunc("GET /config_dump", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, o.Dump()) })
	}
	for path, section := range o.Sections {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, section()) })
	}
	if o.Level != (zap.AtomicLevel{}) {
		mux.HandleFunc("GET /logging", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, o.Level.Level()) })
		mux.HandleFunc("POST /logging", setLevel(o.Level))
	}
	if o.Quit != nil {
		mux.HandleFunc("POST /quitquitquit", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "draining")
			o.Quit()
		})
	}
	if o.Retire != nil {
		mux.HandleFunc("POST /retire", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, o.Retire()) })
	}
	mux.HandleFunc("GET /version", version.Page)
	profile.Pages(mux)
	mux.Handle("GET /metrics", MetricsHandler(o.Metrics))
	mux.Handle("GET /ready", ReadyHandler(o.Ready))
	return noBrowsers(mux)
}

// MetricsHandler serves /metrics alone, for the port that Prometheus scrapes.
func MetricsHandler(g prometheus.Gatherer) http.Handler {
	if g == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
}

// ReadyHandler serves readiness alone, for the port that the kubelet probes.
func ReadyHandler(ready func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
}

func index(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "ztunnel\n\n/config_dump\n/connections\n/certificates\n/logging (POST ?level=)\n/metrics\n/ready\n/version\n/debug/pprof/\n/retire (POST)\n/quitquitquit (POST)\n")
}

func setLevel(level zap.AtomicLevel) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l, err := zapcore.ParseLevel(r.FormValue("level"))
		if err != nil {
			http.Error(w, "level: want debug, info, warn or error", http.StatusBadRequest)
			return
		}
		level.SetLevel(l)
		fmt.Fprintln(w, l)
	}
}

// noBrowsers refuses requests that a web page made: no page has business with a loopback port.
func noBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			http.Error(w, "requests from web pages are not served", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil { // headers are gone: all that is left is to break off visibly
		panic(http.ErrAbortHandler)
	}
}

// Listen opens a loopback TCP address or, for a path, a unix socket that only its owner may use.
func Listen(addr string) (net.Listener, error) { return listen(addr, false) }

// Share is Listen beside another process that shares the address, as long as one replaces the other: a unix socket
// is the latest's, and connections to a TCP address come to either.
func Share(addr string) (net.Listener, error) { return listen(addr, true) }

func listen(addr string, share bool) (net.Listener, error) {
	if len(addr) > 0 && (addr[0] == '/' || addr[0] == '@') {
		return listenUnix(addr, share)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("admin address %q: want a loopback address, the pages are not for the network", addr)
	}
	if share {
		return ShareTCP(addr)
	}
	return net.Listen("tcp", addr)
}

// ShareTCP is Share for any TCP address.
func ShareTCP(addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	return lc.Listen(context.Background(), "tcp", addr)
}

func listenUnix(path string, share bool) (net.Listener, error) {
	if path[0] == '/' {
		if !share && answers(path) {
			return nil, fmt.Errorf("admin socket %s: another process answers there", path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if path[0] == '/' {
		if share {
			l.(*net.UnixListener).SetUnlinkOnClose(false) // by then it may be another's
		}
		if err := os.Chmod(path, 0o600); err != nil {
			l.Close()
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	return l, nil
}

func answers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// lastWords is how long answers under way may take when the server stops: that to /quitquitquit is one.
const lastWords = 2 * time.Second

// Serve serves h on l until ctx ends and what is being answered has been.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		if s.Shutdown(limit) != nil {
			s.Close()
		}
	})
	err := s.Serve(l)
	if !stop() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
