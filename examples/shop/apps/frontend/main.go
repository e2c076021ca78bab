// Frontend is the shop's door. HTTP on ADDR (default :8080):
//
//	GET  /           the catalog (by gRPC, CATALOG) and the cart (by HTTP, CART) in one answer
//	POST /checkout   hands the form on to the cart, which pays
//
// The header "x-user" of a request goes along to the cart.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/examples/shop/kit"
)

type frontend struct {
	catalog grpc.ClientConnInterface
	cart    string
	client  *http.Client
}

func main() {
	ctx, stop := kit.Context()
	defer stop()
	conn, err := grpc.NewClient(kit.Env("CATALOG", "catalog:9090"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	kit.Fatal(err)
	f := &frontend{catalog: conn, cart: kit.Env("CART", "http://cart"), client: &http.Client{Timeout: 10 * time.Second}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", kit.Healthy)
	mux.HandleFunc("GET /{$}", f.home)
	mux.HandleFunc("POST /checkout", f.checkout)
	kit.Fatal(kit.ServeHTTP(ctx, kit.Env("ADDR", ":8080"), mux))
}

func (f *frontend) home(w http.ResponseWriter, r *http.Request) {
	goods, err := kit.List(r.Context(), f.catalog, r.URL.Query().Get("prefix"))
	if err != nil {
		fail(w, fmt.Errorf("catalog: %w", err))
		return
	}
	cart, err := f.ask(r.Context(), http.MethodGet, "/", "", r.Header.Get("x-user"))
	if err != nil {
		fail(w, err)
		return
	}
	kit.JSON(w, 0, map[string]any{"service": "frontend", "catalog": goods, "cart": cart})
}

func (f *frontend) checkout(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		kit.JSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	paid, err := f.ask(r.Context(), http.MethodPost, "/checkout", r.Form.Encode(), r.Header.Get("x-user"))
	if err != nil {
		fail(w, err)
		return
	}
	kit.JSON(w, 0, map[string]any{"service": "frontend", "cart": paid})
}

// ask calls the cart and returns its JSON answer.
func (f *frontend) ask(ctx context.Context, method, path, form, user string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, method, f.cart+path, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if user != "" {
		req.Header.Set("x-user", user)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cart: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("cart: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cart answered %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("cart: %w", err)
	}
	return answer, nil
}

func fail(w http.ResponseWriter, err error) {
	kit.JSON(w, http.StatusBadGateway, map[string]string{"service": "frontend", "error": err.Error()})
}
