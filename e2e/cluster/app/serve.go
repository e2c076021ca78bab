package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// serve answers on all ports until the context ends, then lets what is under way finish for five seconds.
func serve(ctx context.Context, _ []string) error {
	web, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", ":9090")
	if err != nil {
		return err
	}
	echo, err := net.Listen("tcp", ":7070")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	rpcs := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpcs, health.NewServer())
	var g errgroup.Group
	g.Go(func() error { return unlessClosed(server.Serve(web)) })
	g.Go(func() error { return unlessClosed(rpcs.Serve(rpc)) })
	g.Go(func() error { return unlessClosed(serveEcho(echo)) })
	g.Go(func() error {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		echo.Close()
		go func() { <-late.Done(); rpcs.Stop() }()
		rpcs.GracefulStop()
		_ = server.Shutdown(late)
		return nil
	})
	return g.Wait()
}

// probes counts the kubelet's HTTP probes; GET /probes tells the number.
var probes atomic.Int64

// answer tells who answers, who asked and with which headers. The query's body=TEXT comes back, for what looks for it.
func answer(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.UserAgent(), "kube-probe/") {
		probes.Add(1)
	}
	if r.URL.Path == "/probes" {
		fmt.Fprintln(w, probes.Load())
		return
	}
	host, _ := os.Hostname()
	fmt.Fprintf(w, "%s saw %s %s %s\n", host, r.RemoteAddr, r.Method, r.URL.Path)
	if body := r.URL.Query().Get("body"); body != "" {
		fmt.Fprintln(w, body)
	}
	if r.URL.Query().Has("headers") {
		_ = r.Header.Write(w)
	}
}

func serveEcho(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}
