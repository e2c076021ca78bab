package main

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

// config is what the flags say.
type config struct {
	node, controller, controllerName, tokenFile, rootCert string
	zdsSocket, trustDomain, clusterDomain, handoverDir    string
	admin, adminSocket, metrics, ready                    string
	dnsUpstream                                           string
	dnsAuthoritative                                      bool
	drainSeconds                                          int
	certTTL                                               time.Duration
	accessLog, metricPrefix, logLevel, logFormat          string
	tunnelTLS                                             string
	collector                                             string
	tracePercentage                                       float64
	memoryLimit                                           int64
}

func (c config) validate() error {
	var errs []error
	for flag, v := range map[string]string{"--node": c.node, "--controller": c.controller, "--root-cert": c.rootCert, "--token-file": c.tokenFile, "--zds-socket": c.zdsSocket} {
		if v == "" {
			errs = append(errs, fmt.Errorf("%s is required", flag))
		}
	}
	if c.drainSeconds < 0 {
		errs = append(errs, fmt.Errorf("--drain-seconds %d: want 0 or more", c.drainSeconds))
	}
	if c.memoryLimit < 0 {
		errs = append(errs, fmt.Errorf("--memory-limit %d: want bytes, or 0 for the control group's limit", c.memoryLimit))
	}
	if c.tracePercentage < 0 || c.tracePercentage > 100 {
		errs = append(errs, fmt.Errorf("--trace-percentage %v: want 0 to 100", c.tracePercentage))
	}
	return errors.Join(errs...)
}

// spans sends what is traced to the collector; close ends the connection to it. Both are harmless without one.
func (c config) spans(log *zap.Logger) (e *spans.Exporter, percentage float64, closeConn func(), err error) {
	if c.collector == "" {
		return nil, 0, func() {}, nil
	}
	conn, err := spans.Dial(c.collector)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("--trace-collector: %w", err)
	}
	e = spans.New(spans.Options{Conn: conn, Log: log, Resource: []*commonv1.KeyValue{
		spans.Text("service.name", "weft-ztunnel"), spans.Text("service.version", version.Version), spans.Text("k8s.node.name", c.node),
	}})
	return e, c.tracePercentage, func() { _ = conn.Close() }, nil
}

// upstream reads --dns-upstream; the zero value means the pod's own choice.
func (c config) upstream() (netip.AddrPort, error) {
	if c.dnsUpstream == "" {
		return netip.AddrPort{}, nil
	}
	if a, err := netip.ParseAddr(c.dnsUpstream); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	ap, err := netip.ParseAddrPort(c.dnsUpstream)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--dns-upstream %q: want an IP address, with a port or without", c.dnsUpstream)
	}
	return ap, nil
}

// shards starts what drives the tunnels; nil stands for crypto/tls and goroutines.
func (c config) shards(log *zap.Logger) (*hbone.Shards, error) {
	switch c.tunnelTLS {
	case "stdlib":
		return nil, nil
	case "records":
	default:
		return nil, fmt.Errorf("--tunnel-tls %q: want stdlib or records", c.tunnelTLS)
	}
	if fips140.Enabled() {
		return nil, errors.New("--tunnel-tls=records: not in FIPS mode, which takes crypto/tls for everything: write --tunnel-tls=stdlib")
	}
	procs := runtime.GOMAXPROCS(0)
	n := max(1, procs/2)
	runtime.GOMAXPROCS(max(procs, n+2))
	return hbone.NewShards(hbone.ShardsOptions{Count: n, Log: log})
}

// logger writes to standard error: standard output is the access log's.
func (c config) logger() (*zap.Logger, zap.AtomicLevel, error) {
	l, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return nil, zap.AtomicLevel{}, fmt.Errorf("--log-level %q: want debug, info, warn or error", c.logLevel)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.DisableStacktrace = true
	switch c.logFormat {
	case "json":
	case "text":
		cfg.Encoding = "console"
	default:
		return nil, zap.AtomicLevel{}, fmt.Errorf("--log-format %q: want text or json", c.logFormat)
	}
	log, err := cfg.Build()
	if err != nil {
		return nil, zap.AtomicLevel{}, fmt.Errorf("log: %w", err)
	}
	return log, cfg.Level, nil
}

// usualTunnelTLS is records, but where every byte has to be encrypted by a certified module.
func usualTunnelTLS() string {
	if fips140.Enabled() {
		return "stdlib"
	}
	return "records"
}
