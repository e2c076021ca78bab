// Catalog knows what the shop sells. It speaks gRPC on GRPC_ADDR (default :9090) and, for callers
// without gRPC, the same list as JSON over HTTP on HTTP_ADDR (default :8080).
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/examples/shop/kit"
)

var goods = map[string]any{"bread": 320, "butter": 275, "cheese": 890, "tea": 450}

type catalog struct{}

func (catalog) List(_ context.Context, prefix *wrapperspb.StringValue) (*structpb.Struct, error) {
	return structpb.NewStruct(list(prefix.GetValue()))
}

func list(prefix string) map[string]any {
	found := map[string]any{}
	for name, cents := range goods {
		if strings.HasPrefix(name, prefix) {
			found[name] = cents
		}
	}
	return found
}

func main() {
	ctx, stop := kit.Context()
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveGRPC(ctx, kit.Env("GRPC_ADDR", ":9090")) })
	g.Go(func() error {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /healthz", kit.Healthy)
		mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) {
			kit.JSON(w, 0, list(r.URL.Query().Get("prefix")))
		})
		return kit.ServeHTTP(ctx, kit.Env("HTTP_ADDR", ":8080"), mux)
	})
	kit.Fatal(g.Wait())
}

func serveGRPC(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	s := grpc.NewServer()
	kit.RegisterCatalog(s, catalog{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() {
		<-ctx.Done()
		s.GracefulStop()
	}()
	log.Printf("gRPC on %s", addr)
	return s.Serve(l)
}
