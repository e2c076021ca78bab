// Cart keeps what a shopper wants and pays for it. HTTP on ADDR (default :8080):
//
//	GET  /           {"service":"cart","version":"v1"}
//	POST /checkout   charges the card in the form field "card" through payments (PAYMENTS, host:port)
//
// VERSION is what it answers as its version.
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weftmesh/weft/examples/shop/kit"
)

func main() {
	ctx, stop := kit.Context()
	defer stop()
	version, payments := kit.Env("VERSION", "v1"), kit.Env("PAYMENTS", "payments:9000")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", kit.Healthy)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		kit.JSON(w, 0, map[string]string{"service": "cart", "version": version})
	})
	mux.HandleFunc("POST /checkout", func(w http.ResponseWriter, r *http.Request) {
		receipt, err := charge(payments, 1490, r.FormValue("card"))
		if err != nil {
			kit.JSON(w, http.StatusBadGateway, map[string]string{"service": "cart", "version": version, "error": err.Error()})
			return
		}
		kit.JSON(w, 0, map[string]string{"service": "cart", "version": version, "payments": receipt})
	})
	kit.Fatal(kit.ServeHTTP(ctx, kit.Env("ADDR", ":8080"), mux))
}

// charge speaks payments' line protocol; the server greets first.
func charge(addr string, cents int, card string) (string, error) {
	if card == "" || strings.ContainsAny(card, " \r\n") {
		return "", fmt.Errorf("form field card is empty or holds white space")
	}
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", fmt.Errorf("payments: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	if _, err = expect(r, "220"); err != nil {
		return "", fmt.Errorf("payments' greeting: %w", err)
	}
	if _, err = fmt.Fprintf(c, "CHARGE %d %s\r\n", cents, card); err != nil {
		return "", fmt.Errorf("payments: %w", err)
	}
	receipt, err := expect(r, "250")
	if err != nil {
		return "", fmt.Errorf("payments: %w", err)
	}
	_, _ = fmt.Fprint(c, "QUIT\r\n")
	_, _ = expect(r, "221")
	return receipt, nil
}

// expect reads one line that starts with the code, and returns it.
func expect(r *bufio.Reader, code string) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("connection ended early: %w", err)
	}
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, code) {
		return "", fmt.Errorf("answered %q, wanted %s", line, code)
	}
	return line, nil
}
