package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Handler does what the container runtime wants. Calls run at the same time, also for one pod; each may come again,
// and ctx ends when the plugin gives up.
type Handler interface {
	// Add returns nil when the pod is captured, or is not to be. The error is shown to people as the pod's event, so
	// when ctx ends it is to say what was waited for.
	Add(context.Context, Pod) error
	// Del is called when the pod's network is taken away, perhaps never, perhaps often, and for pods that never were.
	Del(context.Context, Pod) error
	// Check returns nil if the pod is as Add left it.
	Check(context.Context, Pod) error
}

// Server is the agent's end. Path and Handler are required.
type Server struct {
	// Path of the socket. Only root may connect.
	Path    string
	Handler Handler
	// Done is told of each call that was answered, for metrics; nil: nobody. op is add, del or check.
	Done func(op string, err error, took time.Duration)
	// Log; nil: none.
	Log *zap.Logger
}

// Run serves until ctx ends. Calls under way then are broken off: the plugin asks the next agent. The error is
// ErrInUse or what kept it from listening.
func (s *Server) Run(ctx context.Context) error {
	log := s.Log
	if log == nil {
		log = zap.NewNop()
	}
	l, err := listen(s.Path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for op, f := range map[string]func(context.Context, Pod) error{opAdd: s.Handler.Add, opDel: s.Handler.Del, opCheck: s.Handler.Check} {
		mux.HandleFunc("POST "+version+op, s.handle(ctx, op, f, log))
	}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: zap.NewStdLog(log),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: withConn,
	}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve the CNI socket: %w", err)
	}
	return nil
}

// handle makes one operation of the protocol.
func (s *Server) handle(running context.Context, op string, f func(context.Context, Pod) error, log *zap.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req request
		b, err := io.ReadAll(io.LimitReader(r.Body, maxBytes))
		if err == nil {
			err = json.Unmarshal(b, &req)
		}
		if err != nil || req.Name == "" || req.Namespace == "" {
			reply(w, http.StatusBadRequest, fmt.Sprintf("the request is not to be understood (%v): want a pod with namespace and name", err))
			return
		}
		began := time.Now()
		err = s.call(r.Context(), op, f, req)
		if err != nil && running.Err() != nil {
			panic(http.ErrAbortHandler) // we end, and that is no answer: the plugin is to ask our successor
		}
		took := time.Since(began)
		fields := []zap.Field{zap.String("op", op), zap.String("pod", req.Key()), zap.String("container", req.ContainerID), zap.Duration("took", took)}
		if err != nil {
			log.Warn("CNI call failed", append(fields, zap.Error(err))...)
			reply(w, http.StatusServiceUnavailable, err.Error())
		} else {
			log.Debug("CNI call", fields...)
			reply(w, http.StatusOK, "")
		}
		if s.Done != nil {
			s.Done(op, err, took)
		}
	}
}

func (s *Server) call(ctx context.Context, op string, f func(context.Context, Pod) error, req request) error {
	p := req.Pod
	p.Netns = ""
	ns, err := openNetns(ctx, req)
	switch {
	case err == nil:
		defer ns.Close()
		p.Netns = fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	case op != opDel:
		return err
	}
	if req.WaitMS > 0 {
		// A little less than the plugin waits, so that our reason is what people read.
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.WaitMS)*time.Millisecond*9/10)
		defer cancel()
	}
	return f(ctx, p)
}

func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(response{Error: text}) // the plugin may be gone
}

// listen takes over a socket that a dead agent left, but not one that is in use.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the CNI socket: %w", err)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("%w %s: stop it first", ErrInUse, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the CNI socket of a former agent: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the CNI socket: %w", err)
	}
	// Whoever may connect decides what is waited for, and has namespaces opened.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
