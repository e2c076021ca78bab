package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/examples/shop/kit"
)

// headers collects repeated -H k:v flags.
type headers http.Header

func (h headers) String() string { return "" }

func (h headers) Set(s string) error {
	k, v, ok := strings.Cut(s, ":")
	if !ok {
		return fmt.Errorf("want name:value, got %q", s)
	}
	http.Header(h).Add(strings.TrimSpace(k), strings.TrimSpace(v))
	return nil
}

func get(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("get", flag.ExitOnError)
	h := headers{}
	fs.Var(h, "H", "request header, name:value")
	method := fs.String("X", "", "method (GET, or POST with -d)")
	form := fs.String("d", "", "form body, a=b&c=d")
	timeout := fs.Duration("timeout", 5*time.Second, "of the whole request")
	_ = fs.Parse(args)
	if *method == "" {
		*method = http.MethodGet
		if *form != "" {
			*method = http.MethodPost
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, *method, fs.Arg(0), strings.NewReader(*form))
	if err != nil {
		return err
	}
	req.Header = http.Header(h)
	if *form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Fprintf(out, "%s\n%s\n", resp.Status, strings.TrimSpace(string(body)))
	if err == nil && resp.StatusCode >= 400 {
		return fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return err
}

// tcp prints the server's greeting, and for each line that it sends one line of answer.
func tcp(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("tcp", flag.ExitOnError)
	timeout := fs.Duration("timeout", 5*time.Second, "of the whole conversation")
	_ = fs.Parse(args)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", fs.Arg(0))
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(*timeout))
	r := bufio.NewReader(c)
	for i := 0; ; i++ {
		line, err := r.ReadString('\n')
		fmt.Fprint(out, line)
		if err != nil || i+1 >= fs.NArg() {
			return err
		}
		if _, err := fmt.Fprintf(c, "%s\r\n", fs.Arg(i+1)); err != nil {
			return err
		}
	}
}

func list(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("want HOST:PORT")
	}
	conn, err := grpc.NewClient("passthrough:///"+args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	goods, err := kit.List(ctx, conn, strings.Join(args[1:], ""))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, goods)
	return nil
}
