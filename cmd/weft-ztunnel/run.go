package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
	"github.com/weftmesh/weft/pkg/zds"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/admin"
	zdirect "github.com/weftmesh/weft/ztunnel/direct"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// run wires everything, and returns after the drain that the end of ctx begins.
func run(ctx context.Context, c config) error {
	if err := c.validate(); err != nil {
		return err
	}
	upstream, err := c.upstream()
	if err != nil {
		return err
	}
	format, err := telemetry.ParseFormat(c.accessLog)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	log, level, err := c.logger()
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	shards, err := c.shards(log) // they end with the process
	if err != nil {
		return err
	}
	exporter, percentage, closeCollector, err := c.spans(log)
	if err != nil {
		return err
	}
	defer closeCollector()
	conn, err := ca.Dial(ca.DialOptions{Address: c.controller, RootFile: c.rootCert, ServerName: c.controllerName, TokenFile: c.tokenFile})
	if err != nil {
		return err
	}
	defer conn.Close()
	certs := ca.NewManager(ca.ManagerOptions{Issuer: ca.NewClient(conn, identity.Identity{}), TrustDomain: c.trustDomain, TTL: c.certTTL, Logger: log})
	defer certs.Close()
	accessLog := telemetry.NewAccessLog(os.Stdout, format)
	defer accessLog.Flush(time.Second)
	numbers := telemetry.NewMetrics(telemetry.Options{Prefix: c.metricPrefix})
	z := ztunnel.New(ztunnel.Options{
		Direct: func(ctx context.Context) (zdirect.Kernel, io.ReadCloser, error) {
			m, agent, err := direct.Take(ctx, direct.PathBeside(c.zdsSocket))
			return m, agent, err
		},
		Node: c.node, TrustDomain: c.trustDomain, ClusterDomain: c.clusterDomain, Certificates: certs,
		Metrics: numbers, Memory: c.budget(numbers, log),
		AccessLog: accessLog, Spans: exporter, TracePercentage: percentage, Shards: shards,
		DNSUpstream: upstream, DNSAuthoritative: c.dnsAuthoritative, Log: log,
	})
	client, err := subscribe.New(subscribe.Options{
		Conn: conn, NodeID: wire.ZtunnelNode(c.node), Handler: subscribe.HandlerFunc(apply(z.State, c.node, certs)), OnConnect: certs.Kick, Logger: log,
	})
	if err != nil {
		return err
	}
	return serve(ctx, c, z, newSuccession(c, z, shards, log), client, conn, certs, log, level)
}

// apply carries deltas from the wire's package to the state, which stands on the same floor. A pod of this
// node that the controller has just come to know may now have a certificate that was refused before: asking
// again at once is what lets it be enrolled at once.
func apply(s *state.State, node string, certs *ca.Manager) func(subscribe.Delta) error {
	return func(d subscribe.Delta) error {
		for _, w := range d.Workloads {
			s.Share(w)
		}
		s.Apply(state.Delta{Workloads: d.Workloads, Services: d.Services, Policies: d.Policies, Ranges: d.Ranges,
			RemovedAddresses: d.RemovedAddresses, RemovedPolicies: d.RemovedPolicies, RemovedRanges: d.RemovedRanges})
		if slices.ContainsFunc(d.Workloads, func(w *model.Workload) bool { return w.Node == node }) {
			certs.Kick()
		}
		return nil
	}
}

func serve(ctx context.Context, c config, z *ztunnel.Ztunnel, s *succession, client *subscribe.Client, conn *grpc.ClientConn, certs *ca.Manager, log *zap.Logger, level zap.AtomicLevel) error {
	told, quit := context.WithCancel(ctx) // ends when this process is to end
	defer quit()
	stopping, stop := context.WithCancel(told) // ends when the drain begins
	defer stop()
	running, end := context.WithCancel(context.Background()) // ends after the drain
	defer end()
	g, running := errgroup.WithContext(running)
	if err := pages(running, g, c, z, s, certs, quit, level); err != nil {
		return err
	}
	g.Go(func() error { return client.Run(running) })
	g.Go(func() error { z.Run(running); return nil })
	reporter := &healthReporter{c: c, z: z, conn: conn, log: log}
	g.Go(func() error { reporter.run(running); return nil })
	g.Go(func() error {
		select {
		case <-client.Synced():
			z.State.SetSynced()
			log.Info("configuration received; ready")
			debug.FreeOSMemory() // what the first, by far the largest, message needed while it was read
		case <-running.Done():
		}
		return nil
	})
	g.Go(func() error {
		// Pods are asked for when their connections can be decided: to capture one earlier only refuses it.
		select {
		case <-client.Synced():
		case <-stopping.Done():
			return nil
		}
		return zds.NewProxy(zds.ProxyOptions{Path: c.zdsSocket, Handler: agentHandler{z.Pods}, Logger: log}).Run(stopping)
	})
	g.Go(func() error {
		if s.run(stopping) {
			stop()
		}
		return nil
	})
	g.Go(func() error {
		defer end()
		select {
		case <-stopping.Done():
		case <-running.Done(): // something failed: leave orderly all the same
		}
		log.Info("draining", zap.Int("connections", z.Flows.Len()))
		drain(told, running, time.Duration(c.drainSeconds)*time.Second, z.Drain)
		return nil
	})
	log.Info("ztunnel started", zap.String("node", c.node), zap.String("controller", c.controller))
	return g.Wait()
}

// drain lets connections end. The limit counts from when this process is told to end, as does the return: who has
// given its connections to a successor has time until then, and would be started again if it left by itself.
func drain(told, running context.Context, limit time.Duration, do func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-told.Done():
		case <-running.Done():
		}
		time.AfterFunc(limit, cancel)
	}()
	do(ctx)
	<-over
}

// pages starts the admin page, metrics and readiness.
func pages(ctx context.Context, g *errgroup.Group, c config, z *ztunnel.Ztunnel, s *succession, certs *ca.Manager, quit func(), level zap.AtomicLevel) error {
	full := admin.Handler(admin.Options{
		Dump: z.Dump, Ready: s.ready, Quit: quit, Retire: z.Retire, Level: level, Metrics: z.Metrics.Registry(),
		Sections: map[string]func() any{
			"connections":  func() any { return z.Flows.Views() },
			"certificates": func() any { return certs.List() },
		},
	})
	metrics, ready := http.NewServeMux(), http.NewServeMux()
	metrics.Handle("GET /metrics", admin.MetricsHandler(z.Metrics.Registry()))
	metrics.Handle("GET /stats/prometheus", admin.MetricsHandler(z.Metrics.Registry()))
	ready.Handle("GET /ready", admin.ReadyHandler(s.ready))
	ready.Handle("GET /healthz/ready", admin.ReadyHandler(s.ready))
	listen, listenTCP := admin.Listen, func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	if c.handoverDir != "" { // two of them run at once while one replaces the other
		listen, listenTCP = admin.Share, admin.ShareTCP
	}
	for _, p := range []struct {
		flag, addr string
		handler    http.Handler
		listen     func(string) (net.Listener, error)
	}{
		{"--admin", c.admin, full, listen},
		{"--admin-socket", c.adminSocket, full, listen},
		{"--metrics", c.metrics, metrics, listenTCP},
		{"--ready", c.ready, ready, listenTCP},
	} {
		if p.addr == "" || p.addr == "off" {
			continue
		}
		l, err := p.listen(p.addr)
		if err != nil {
			return fmt.Errorf("%s: %w (is another ztunnel running on this node?)", p.flag, err)
		}
		g.Go(func() error { return admin.Serve(ctx, l, p.handler) })
	}
	return nil
}

// agentHandler gives the agent's words to the manager.
type agentHandler struct{ pods *inpod.Manager }

func (h agentHandler) Connected() { h.pods.Connected() }

func (h agentHandler) Add(uid string, w zds.WorkloadInfo, ns *os.File) error {
	return h.pods.Add(uid, inpod.Info{Name: w.Name, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount}, ns)
}

func (h agentHandler) Keep(uid string) error { return h.pods.Keep(uid) }

func (h agentHandler) Del(uid string) { h.pods.Del(uid) }

func (h agentHandler) Snapshot() { h.pods.Snapshot() }
