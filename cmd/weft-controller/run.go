package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
)

// run wires source, compiler, xDS, CA and pages together until ctx ends.
func run(ctx context.Context, c config) error {
	log, err := logger(c.logLevel, c.logFormat)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	if c.tokenKey == "" {
		return errors.New("--token-public-key is missing: without it no caller can prove who it is. Make a key pair with: weft-controller token --create-key --key FILE --service-account weft-system/weft-ztunnel")
	}
	if c.deployDir == "" {
		c.deployDir = filepath.Join(c.stateDir, "deploy")
	}
	src, err := openSource(c, log)
	if err != nil {
		return err
	}
	authority, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: c.caDir, Create: true, TrustDomain: c.trustDomain, TTL: c.certTTL, Logger: log})
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	nodes := ca.NewNodePolicy(api.SystemNamespace + "/weft-ztunnel")
	p := newPipeline(c, nodes, reg, log)
	server, err := newServer(c, authority, nodes, p, reg, log)
	if err != nil {
		return err
	}
	p.xds = server
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
	writing, stopFiles := context.WithCancel(context.WithoutCancel(ctx)) // ends last, with all that was decided written
	defer stopFiles()
	filesDone := make(chan struct{})
	go func() { defer close(filesDone); p.files.run(writing) }()
	g.Go(func() error { return authority.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error { p.hearRefusals(ctx); return nil })
	g.Go(func() error { p.publisher.run(ctx); return nil })
	g.Go(func() error { return src.Run(ctx, p.changed) })
	g.Go(func() error { return servePages(ctx, c, pages(p, reg), log) })
	err = g.Wait()
	p.close()
	stopFiles()
	<-filesDone
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func openSource(c config, log *zap.Logger) (*source.Dir, error) {
	var dirs []string
	for _, s := range c.sources {
		dir, err := source.Parse(s)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return source.Open(source.Options{Dirs: dirs, StatusDir: filepath.Join(c.stateDir, "status"), Logger: log})
}

func newServer(c config, authority *ca.Authority, nodes *ca.NodePolicy, p *pipeline, reg prometheus.Registerer, log *zap.Logger) (*xds.Server, error) {
	tokens, err := ca.NewJWTAuthenticator(ca.JWTOptions{KeyFile: c.tokenKey})
	if err != nil {
		return nil, fmt.Errorf("--token-public-key: %w", err)
	}
	svc := ca.NewService(ca.ServiceOptions{Authority: authority, MayImpersonate: nodes.MayImpersonate, Observe: p.metrics.certificate, Logger: log})
	name := "weft-controller." + api.SystemNamespace
	return xds.NewServer(xds.Options{
		TLS: authority.ServingTLS(ca.ServingOptions{
			Identity: identity.Identity{TrustDomain: c.trustDomain, Namespace: api.SystemNamespace, ServiceAccount: "weft-controller"},
			DNSNames: []string{name, name + ".svc", name + ".svc." + c.clusterDomain, "localhost"},
			IPs:      []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		}),
		Authenticator: counted{ca.Any(tokens, ca.PeerCertAuthenticator{Authority: authority}), p.metrics.strangers},
		Register:      []func(grpc.ServiceRegistrar){svc.Register},
		OnNACK:        p.refused,
		Registerer:    reg,
		Logger:        log,
	})
}
