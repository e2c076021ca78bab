package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

// readiness answers the readiness probe.
type readiness struct {
	envoy    *envoy
	secrets  *secrets
	certs    *ca.Manager
	id       identity.Identity
	draining atomic.Bool
}

func (s *readiness) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}

func (s *readiness) ready(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	if !s.secrets.ready.Load() {
		_, err := s.certs.Current(s.id)
		return fmt.Errorf("no certificate yet: %w", err)
	}
	return s.envoy.ready(ctx)
}

// serveHTTP serves until ctx ends; "off" serves nothing.
func serveHTTP(ctx context.Context, addr string, h http.Handler) error {
	if addr == "off" {
		return nil
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", addr, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve at %s: %w", addr, err)
	}
	return nil
}
