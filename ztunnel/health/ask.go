package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/pkg/model"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 16 << 10

// dial connects to the application.
type dial func(ctx context.Context) (net.Conn, error)

// ask makes one check; nil is well.
func ask(ctx context.Context, p *model.HealthCheck, host string, connect dial) error {
	switch p.Kind {
	case model.CheckHTTP:
		return askHTTP(ctx, p, host, connect)
	case model.CheckGRPC:
		return askGRPC(ctx, p, connect)
	case model.CheckTCP:
		c, err := connect(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	}
	return fmt.Errorf("health checks of kind %q are not known", p.Kind)
}

func askHTTP(ctx context.Context, p *model.HealthCheck, host string, connect dial) error {
	if p.Host != "" {
		host = p.Host
	}
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx) }}
	defer t.CloseIdleConnections()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+p.Path, nil)
	if err != nil {
		return err
	}
	q.Header.Set("User-Agent", "weft-ztunnel")
	r, err := t.RoundTrip(q) // which follows no redirect
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, _ = io.CopyN(io.Discard, r.Body, maxAnswer) // the status has decided
	well := r.StatusCode >= 200 && r.StatusCode < 400
	if len(p.Statuses) > 0 {
		well = slices.Contains(p.Statuses, uint32(r.StatusCode))
	}
	if !well {
		return fmt.Errorf("GET %s was answered %s", p.Path, r.Status)
	}
	return nil
}

func askGRPC(ctx context.Context, p *model.HealthCheck, connect dial) error {
	c, err := grpc.NewClient("passthrough:///application", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return connect(ctx) }))
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := healthv1.NewHealthClient(c).Check(ctx, &healthv1.HealthCheckRequest{Service: p.Service}, grpc.MaxCallRecvMsgSize(maxAnswer))
	switch {
	case err != nil:
		return err
	case r.GetStatus() != healthv1.HealthCheckResponse_SERVING:
		return errors.New("the application says " + r.GetStatus().String())
	}
	return nil
}
