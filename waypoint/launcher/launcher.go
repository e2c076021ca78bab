package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // for the next

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/trial"
)

// Run keeps a waypoint going until ctx ends, then drains it. It returns nil after an orderly end.
func Run(ctx context.Context, o Options) error {
	if err := o.setDefaults(); err != nil {
		return fmt.Errorf("waypoint: %w", err)
	}
	binary, err := bootstrap.FindEnvoy(o.Envoy)
	if err != nil {
		return fmt.Errorf("waypoint: %w", err)
	}
	dir, err := runDir(o.RunDir)
	if err != nil {
		return fmt.Errorf("waypoint: %w", err)
	}
	defer os.RemoveAll(dir)
	conn, err := ca.Dial(ca.DialOptions{Address: o.Controller, RootFile: o.RootFile, TokenFile: o.TokenFile, ServerName: o.ControllerName})
	if err != nil {
		return fmt.Errorf("waypoint: %w", err)
	}
	defer conn.Close()
	l := &launcher{o: o, dir: dir, binary: binary, conn: conn, secrets: newSecrets(o.Logger)}
	l.telemetry = newReporter(o)
	l.envoy = newEnvoy(o, dir, binary)
	l.telemetry.watch(l.envoy, l.secrets)
	l.gate = newGate(gateOptions{
		try: func(ctx context.Context, c trial.Candidate) error {
			return trial.Run(ctx, trial.Options{Binary: binary, Dir: dir, Limit: o.TrialLimit}, c)
		},
		serving: func(ctx context.Context) bool { return l.envoy.ready(ctx) == nil },
		hang:    o.HangTime,
	}, l.telemetry, o.Logger)
	defer l.gate.trials.close()
	l.envoy.ended = l.gate.loops.ended
	if err := l.writeBootstrap(); err != nil {
		return fmt.Errorf("waypoint: %w", err)
	}
	return l.run(ctx)
}

type launcher struct {
	o         Options
	dir       string
	binary    string
	conn      *grpc.ClientConn
	secrets   *secrets
	telemetry *reporter
	envoy     *envoy
	gate      *gate
}

// runDir makes a directory of our own, so that several waypoints may share a machine's /run.
func runDir(base string) (string, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make the run directory: %w", err)
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		return "", fmt.Errorf("make the run directory: %w", err)
	}
	longest := filepath.Join(dir, bootstrap.LauncherSocket)
	if len(longest) > 107 {
		os.RemoveAll(dir)
		return "", fmt.Errorf("%s: the path of a unix socket has at most 107 bytes; choose a shorter --run-dir", longest)
	}
	return dir, nil
}

func (l *launcher) writeBootstrap() error {
	cfg, err := bootstrap.Marshal(bootstrap.Config(bootstrap.Options{
		NodeID: NodeID(l.o.Gateway, l.o.Pod), Gateway: l.o.Gateway, RunDir: l.dir, HangTime: l.o.HangTime,
	}))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, bootstrap.File), cfg, 0o600); err != nil {
		return fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	return nil
}

func (l *launcher) run(ctx context.Context) error {
	issuer := l.o.issuer
	if issuer == nil {
		issuer = ca.NewClient(l.conn, l.o.identity())
	}
	certs := ca.NewManager(ca.ManagerOptions{
		Issuer: issuer, TrustDomain: l.o.TrustDomain, TTL: l.o.CertTTL, Logger: l.o.Logger, OnChange: l.secrets.set,
	})
	defer certs.Close()
	certs.Acquire(l.o.identity())

	// Servers outlive ctx: Envoy needs them while it drains.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, serving := errgroup.WithContext(serving)
	ads := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(forward(l.conn, l.gate, l.o.Logger)), grpc.MaxRecvMsgSize(maxMessage))
	own := grpc.NewServer(grpc.ForceServerCodecV2(reporterCodec{encoding.GetCodecV2("proto")}))
	l.secrets.register(serving, own)
	l.telemetry.register(own)
	for name, s := range map[string]*grpc.Server{bootstrap.ControllerSocket: ads, bootstrap.LauncherSocket: own} {
		ln, err := net.Listen("unix", filepath.Join(l.dir, name))
		if err != nil {
			return fmt.Errorf("waypoint: listen for Envoy: %w", err)
		}
		g.Go(func() error { return s.Serve(ln) })
	}
	context.AfterFunc(serving, func() { ads.Stop(); own.Stop() })
	ready := &readiness{envoy: l.envoy, secrets: l.secrets, certs: certs, id: l.o.identity()}
	g.Go(func() error { return serveHTTP(serving, l.o.Ready, ready.handler()) })
	g.Go(func() error { return serveHTTP(serving, l.o.Metrics, l.telemetry.handler(l.envoy)) })
	g.Go(func() error { l.telemetry.metrics.Run(serving); return nil })
	g.Go(func() error {
		defer stop()
		return l.envoy.supervise(serving)
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			ready.draining.Store(true)
			l.envoy.drain(serving, l.o.Drain)
			stop()
		case <-serving.Done():
		}
		return nil
	})
	l.o.Logger.Info("waypoint started", zap.String("gateway", l.o.Gateway), zap.String("pod", l.o.Pod),
		zap.Stringer("identity", l.o.identity()), zap.String("envoy", l.binary), zap.Int("concurrency", l.o.Concurrency))
	start := time.Now()
	err := g.Wait()
	l.o.Logger.Info("waypoint ended", zap.Duration("after", time.Since(start)))
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("waypoint: %w", err)
	}
	return nil
}
