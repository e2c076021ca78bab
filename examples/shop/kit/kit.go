// Package kit is what the shop's little programs share: settings from the environment, a server that
// stops gently on SIGTERM, and the catalog's gRPC service.
//
// The programs know nothing of the mesh. They speak plain HTTP, gRPC and TCP, and everything the demo
// shows about them (encryption, policy, routing, faults) happens outside their processes.
package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Env returns the environment variable, or fallback when it is empty.
func Env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// Context ends with SIGTERM or SIGINT.
func Context() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// Fatal ends the program with a message unless err is nil.
func Fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// ServeHTTP serves until the context ends, then lets running requests finish for up to 5 s.
func ServeHTTP(ctx context.Context, addr string, h http.Handler) error {
	srv := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	log.Printf("listening on %s", addr)
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", addr, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop %s: %w", addr, err)
	}
	return nil
}

// JSON answers with v; a status of 0 means 200.
func JSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Printf("answer: %v", err)
	}
}

// Healthy answers readiness probes.
func Healthy(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }
