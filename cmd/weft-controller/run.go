package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/xds"
)

// run wires source, compiler, xDS, CA and pages together until ctx ends.
func run(ctx context.Context, c config) error {
	log, err := logger(c.logLevel, c.logFormat)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	b, err := openBackend(c, log)
	if err != nil {
		return err
	}
	src, err := b.input()
	if err != nil {
		return err
	}
	authority, err := b.authority(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	tokens, err := openTokens(ctx, b.c, b.client, log)
	if err != nil {
		return interrupted(ctx, err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := newMetrics(reg)
	out, err := b.output(authority, m, reg)
	if err != nil {
		return err
	}
	nodes := ca.NewNodePolicy(api.SystemNamespace + "/weft-ztunnel")
	p := newPipeline(c, nodes, m, out, log)
	p.keys = jwks.NewFetcher(keeping(ctx, b.keyStore(), jwks.Options{OnChange: p.again, Logger: log}))
	server, err := newServer(c, authority, tokens, p, reg, log)
	if err != nil {
		return err
	}
	p.xds = server
	record, err := b.record(p, reg)
	if err != nil {
		return err
	}
	reg.MustRegister(proxies{server})
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return fmt.Errorf("listen for xDS and CA: %w (is another controller running?)", err)
	}
	log.Info("serving xDS and CA", zap.Stringer("address", listener.Addr()), zap.String("trustDomain", c.trustDomain))
	if c.onListen != nil {
		c.onListen(listener.Addr())
	}
	g, ctx := errgroup.WithContext(ctx)
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx)) // ends last, with all that was decided written
	defer stopWriting()
	written := make(chan struct{})
	go func() { defer close(written); out.run(writing, p.restated) }()
	if b.secret != nil {
		g.Go(func() error { b.secret.run(ctx); return nil })
	}
	g.Go(func() error { tokens.Run(ctx, log); return nil })
	g.Go(func() error { return authority.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error { p.hearRefusals(ctx); return nil })
	g.Go(func() error { p.follow(ctx, record); return nil })
	if record != nil {
		g.Go(func() error { record.Run(ctx); return nil })
	}
	g.Go(func() error { p.health.Run(ctx); return nil })
	g.Go(func() error { p.hearHealth(ctx); return nil })
	g.Go(func() error { p.publisher.run(ctx); return nil })
	g.Go(func() error { return src.Run(ctx, p.changed) })
	g.Go(func() error { return servePages(ctx, c, p, reg, log) })
	err = g.Wait()
	p.close()
	stopWriting()
	<-written
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// interrupted is nil for an error of being told to end.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func newServer(c config, authority *ca.Authority, tokens *ca.JWTAuthenticator, p *pipeline, reg prometheus.Registerer, log *zap.Logger) (*xds.Server, error) {
	svc := ca.NewService(ca.ServiceOptions{Authority: authority, MayImpersonate: p.nodes.MayImpersonate, Observe: p.metrics.certificate, Logger: log})
	name := "weft-controller." + api.SystemNamespace
	return xds.NewServer(xds.Options{
		TLS: authority.ServingTLS(ca.ServingOptions{
			Identity: identity.Identity{TrustDomain: c.trustDomain, Namespace: api.SystemNamespace, ServiceAccount: "weft-controller"},
			DNSNames: []string{name, name + ".svc", name + ".svc." + c.clusterDomain, "localhost"},
			IPs:      []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		}),
		Authenticator: counted{ca.Any(ca.PodAuthenticator{Authenticator: tokens, Find: p.podUID}, ca.PeerCertAuthenticator{Authority: authority}), p.metrics.strangers},
		Register:      []func(grpc.ServiceRegistrar){svc.Register, p.health.Register},
		OnNACK:        p.refused,
		Registerer:    reg,
		Logger:        log,
	})
}
