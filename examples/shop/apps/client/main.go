// Client calls the shop from inside a pod, for people and for the demo:
//
//	shop-client get  [-H k:v] [-X METHOD] [-d FORM] URL    one request; prints status and body
//	shop-client tcp  HOST:PORT [LINE…]                     prints the greeting, then each line's answer
//	shop-client grpc HOST:PORT [PREFIX]                    the catalog's list
//	shop-client watch HEADER URL                           asks on and on; a line for each new value of the answers' header
//	shop-client load [-n N] [-c C] [-every D] [-duration D] [-fresh] [-each] [-H k:v] URL    counts as JSON
//	shop-client sleep                                      waits to be told to stop (a pod to work from)
//
// It exits 0 on success, 7 when the connection was refused, 22 on an HTTP status of 400 or more, 28 on
// a timeout, 56 when the connection broke, 6 when the name did not resolve, and 1 or 2 otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/examples/shop/kit"
)

var commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"get": get, "tcp": tcp, "grpc": list, "watch": watch, "load": loadCommand, "sleep": sleep,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: shop-client get|tcp|grpc|watch|load|sleep …")
		os.Exit(2)
	}
	ctx, stop := kit.Context()
	err := commands[os.Args[1]](ctx, os.Args[2:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop-client:", err)
	}
	os.Exit(exitCode(err))
}

func sleep(ctx context.Context, _ []string, _ io.Writer) error {
	<-ctx.Done()
	return nil
}

// errStatus is an HTTP status of 400 or more.
var errStatus = errors.New("the server refused the request")

// exitCode names the cause of a failure in curl's numbers.
func exitCode(err error) int {
	var name *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &name):
		return 6
	case errors.Is(err, syscall.ECONNREFUSED):
		return 7
	case errors.Is(err, errStatus):
		return 22
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return 28
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), status.Code(err) == codes.Unavailable:
		return 56
	}
	return 1
}
