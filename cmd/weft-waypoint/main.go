// Command weft-waypoint runs a stock Envoy as the waypoint of one Gateway.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/launcher"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft-waypoint:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o launcher.Options
	var accessLog, logLevel, logFormat string
	var drainSeconds int
	c := &cobra.Command{
		Use:           "weft-waypoint --gateway NAMESPACE/NAME --controller HOST:PORT --token-file FILE --root-cert FILE",
		Short:         "Run a stock Envoy as the waypoint of one Gateway",
		Args:          cobra.NoArgs,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := telemetry.ParseFormat(accessLog)
			if err != nil {
				return fmt.Errorf("--access-log: %w", err)
			}
			log, err := logger(logLevel, logFormat)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			o.AccessLog, o.Logger, o.Drain = format, log, time.Duration(drainSeconds)*time.Second
			return launcher.Run(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Gateway, "gateway", "", "namespace/name of the Gateway that this waypoint serves")
	f.StringVar(&o.ServiceAccount, "service-account", "", "service account that this waypoint runs as (default the Gateway's name)")
	f.StringVar(&o.Pod, "pod", "", "name of this pod (default $POD_NAME)")
	f.StringVar(&o.Controller, "controller", os.Getenv("WEFT_CONTROLLER"), "host:port of the controller's xDS and CA")
	f.StringVar(&o.ControllerName, "controller-name", "", "name that the controller's certificate must have (default the host of --controller)")
	f.StringVar(&o.TokenFile, "token-file", os.Getenv("WEFT_TOKEN_FILE"), "service-account token shown to the controller")
	f.StringVar(&o.RootFile, "root-cert", os.Getenv("WEFT_ROOT_CERT"), "roots that the controller's certificate must lead to")
	f.StringVar(&o.TrustDomain, "trust-domain", "cluster.local", "trust domain of this waypoint's identity")
	f.DurationVar(&o.CertTTL, "cert-ttl", 24*time.Hour, "lifetime of certificates to ask for, at least 30s")
	f.StringVar(&o.Envoy, "envoy", "", "Envoy binary (default $WEFT_ENVOY, envoy in PATH, build/envoy)")
	f.StringVar(&o.RunDir, "run-dir", "/run/weft-waypoint", "directory for sockets; a new one of this process is made in it")
	f.IntVar(&o.Concurrency, "concurrency", 0, "Envoy's worker threads (default the CPUs this process may use)")
	f.StringVar(&o.LogLevel, "envoy-log-level", "warning", "Envoy's own log: trace, debug, info, warning, error, off")
	f.IntVar(&drainSeconds, "drain-seconds", 5, "how long connections may live on after SIGTERM")
	f.StringVar(&o.Metrics, "metrics", ":15020", "address of /metrics, or off")
	f.StringVar(&o.Ready, "ready", ":15021", "address of /ready, or off")
	f.StringVar(&o.MetricPrefix, "metric-prefix", telemetry.DefaultPrefix, "prefix of request and connection metrics")
	f.StringVar(&accessLog, "access-log", "json", "access log on standard output: json, text or off")
	f.StringVar(&logLevel, "log-level", "info", "this program's log: debug, info, warn, error")
	f.StringVar(&logFormat, "log-format", "text", "this program's log: text or json")
	return c
}

// logger writes to standard error: standard output is the access log's.
func logger(level, format string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	switch format {
	case "json":
	case "text":
		cfg.Encoding = "console"
	default:
		return nil, fmt.Errorf("--log-format %q: want text or json", format)
	}
	return cfg.Build()
}
