package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/profile"
	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/source"
)

// publicPages are those that monitoring and probes ask for: they say nothing of what the mesh runs.
func publicPages(p *pipeline, reg *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if p.latest.Load() == nil {
			http.Error(w, "the objects have not been read yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /version", version.Page)
	return mux
}

// pages are what people and weftctl look at.
func pages(p *pipeline, reg *prometheus.Registry) http.Handler {
	mux := publicPages(p, reg)
	show := func(path string, get func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			_ = enc.Encode(get())
		})
	}
	show("/debug/snapshot", func() any { return p.latest.Load() })
	show("/debug/status", func() any { return p.shownReports() })
	show("/debug/objects", func() any { return p.shownObjects() })
	show("/debug/clients", func() any { return p.xds.Clients() })
	profile.Pages(mux)
	return mux
}

// shownReports is never null, so that readers always find a list.
func (p *pipeline) shownReports() []objectReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]objectReport{}, p.reports...)
}

// object is one line of /debug/objects.
type object struct {
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	Generation int64  `json:"generation,omitempty"`
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
}

func (p *pipeline) shownObjects() []object {
	out := []object{}
	if objs := p.read.Load(); objs != nil {
		objs.Each(func(kind string, v metav1.Object, at source.Origin) {
			out = append(out, object{kind, v.GetNamespace(), v.GetName(), v.GetGeneration(), at.File, at.Line})
		})
	}
	return out
}

// servePages serves on --metrics-listen, --debug-listen and --admin-socket until ctx ends.
func servePages(ctx context.Context, c config, p *pipeline, reg *prometheus.Registry, log *zap.Logger) error {
	type site struct {
		net.Listener
		pages http.Handler
	}
	var sites []site
	closeAll := func() {
		for _, s := range sites {
			_ = s.Close()
		}
	}
	all := pages(p, reg)
	for _, at := range []struct {
		flag, address string
		pages         http.Handler
	}{{"--metrics-listen", c.metricsListen, publicPages(p, reg)}, {"--debug-listen", c.debugListen, all}} {
		if at.address == "" || at.address == "off" {
			continue
		}
		l, err := net.Listen("tcp", at.address)
		if err != nil {
			closeAll()
			return fmt.Errorf("%s: %w", at.flag, err)
		}
		sites = append(sites, site{l, at.pages})
	}
	if c.adminSocket != "" {
		l, err := listenUnix(c.adminSocket)
		if err != nil {
			closeAll()
			return fmt.Errorf("--admin-socket: %w", err)
		}
		sites = append(sites, site{l, all})
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range sites {
		srv := &http.Server{Handler: l.pages, ReadHeaderTimeout: 5 * time.Second}
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		g.Go(func() error { <-ctx.Done(); return srv.Close() })
		log.Debug("serving pages", zap.Stringer("address", l.Addr()))
	}
	<-ctx.Done()
	return g.Wait()
}

// listenUnix makes a socket that only its owner may use, in place of one left by a predecessor.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}
