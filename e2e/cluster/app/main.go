// Command app is everything that runs in the pods of the tests.
//
//	app pause                         waits for SIGTERM
//	app serve                         HTTP on :8080, gRPC on :9090, TCP echo on :7070, until SIGTERM
//	app get [-timeout 3s] URL         prints the body; fails unless the status is 2xx
//	app tcp ADDRESS TEXT              sends a line to the TCP echo, prints what comes back
//	app load -rate 50 KIND=TARGET ... makes calls and counts them; see load.go
//	app eat MIB                       takes so much memory and keeps it
//	app stats                         prints what a load in the same pod has counted so far, as JSON
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	name, args := "pause", []string{}
	if len(os.Args) > 1 {
		name, args = os.Args[1], os.Args[2:]
	}
	commands := map[string]func(context.Context, []string) error{
		"pause": func(ctx context.Context, _ []string) error { return pause(ctx) },
		"serve": serve, "get": get, "tcp": tcp, "load": load, "eat": eat,
		"stats": func(ctx context.Context, _ []string) error { return fetch(ctx, "http://"+statsAddress+"/") },
	}
	run, known := commands[name]
	if !known {
		fmt.Fprintf(os.Stderr, "app: no command %q: want pause, serve, get, tcp, load, eat or stats\n", name)
		os.Exit(2)
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "app %s: %v\n", name, err)
		os.Exit(1)
	}
}

// pause is also the pause container: it is pid 1 of its pod and has to reap what is left to it.
func pause(ctx context.Context) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-children:
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			}
		}
	}
}

func get(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("get", flag.ExitOnError)
	timeout := fs.Duration("timeout", 3*time.Second, "for the whole request")
	_ = fs.Parse(args)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return fetch(ctx, fs.Arg(0))
}

func fetch(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(os.Stdout, res.Body); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return nil
}

func tcp(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want ADDRESS TEXT")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := exchange(conn, args[1]+"\n", 3*time.Second)
	fmt.Print(answer)
	return err
}

// eat takes 32 MiB ten times a second, writes to all of it, and holds what it has. That it is ended is a failure.
func eat(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("want MIB")
	}
	limit, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var all [][]byte
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(all)*32 < limit {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			all = append(all, bytes.Repeat([]byte{1}, 32<<20))
			fmt.Println(len(all)*32, "MiB")
		}
	}
	<-ctx.Done()
	runtime.KeepAlive(all)
	return ctx.Err()
}
