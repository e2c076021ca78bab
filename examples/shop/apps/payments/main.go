// Payments charges cards over a TCP line protocol in which the server speaks first:
//
//	S: 220 payments ready
//	C: CHARGE <cents> <card>
//	S: 250 charged <cents>, receipt <n>
//	C: QUIT
//	S: 221 bye
//
// It listens on ADDR (default :9000).
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/examples/shop/kit"
)

var receipts atomic.Int64

func main() {
	ctx, stop := kit.Context()
	defer stop()
	l, err := net.Listen("tcp", kit.Env("ADDR", ":9000"))
	kit.Fatal(err)
	log.Printf("listening on %s", l.Addr())
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return
		}
		kit.Fatal(err)
		go serve(c)
	}
}

// serve talks until the caller says QUIT, closes its side or is silent for a minute.
func serve(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	answer := func(format string, a ...any) bool {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, err := fmt.Fprintf(c, format+"\r\n", a...)
		return err == nil
	}
	for ok := answer("220 payments ready"); ok && lines.Scan(); {
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 3 && strings.EqualFold(f[0], "CHARGE"):
			cents, err := strconv.ParseUint(f[1], 10, 32)
			if err != nil || cents == 0 {
				ok = answer("501 amount %q is not a positive number of cents", f[1])
				continue
			}
			ok = answer("250 charged %d, receipt %d", cents, receipts.Add(1))
		case len(f) == 1 && strings.EqualFold(f[0], "QUIT"):
			answer("221 bye")
			return
		default:
			ok = answer("500 say CHARGE <cents> <card> or QUIT")
		}
	}
}
