package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// The test binary plays every program of a lab: weftctl's hidden commands, and the pods' application.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab" {
		os.Exit(playLab(os.Args[2], os.Args[3:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "app" {
		os.Exit(playApp(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func playLab(command string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		if command == "pod-init" {
			return PodInit(args[0], args[2:])
		}
		c, err := Load(args[1])
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		switch command {
		case "supervise":
			return Supervise(ctx, c, nil)
		case "kubelet":
			return RunKubelet(ctx, KubeletOptions{Layout: c.Layout, Node: args[3], Images: c.Images, Self: self})
		case "node-proxy":
			return RunNodeProxy(ctx, NodeProxyOptions{Layout: c.Layout})
		}
		return fmt.Errorf("no command %q", command)
	}()
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// playApp is `app serve VERSION`, `app get URL` or `app crash`.
func playApp(args []string) int {
	switch args[0] {
	case "serve":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		srv := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _ := os.Hostname()
			fmt.Fprintf(w, "%s %s %s\n", args[1], host, r.RemoteAddr)
		})}
		go func() { _ = srv.ListenAndServe() }()
		<-ctx.Done()
		_ = srv.Shutdown(context.Background())
		return 0
	case "get":
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}}
		resp, err := client.Get(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 7
		}
		defer resp.Body.Close()
		_, _ = io.Copy(os.Stdout, resp.Body)
		return 0
	}
	return 3
}
