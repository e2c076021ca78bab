package launcher

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/telemetry"
)

// Options of a waypoint.
type Options struct {
	// Gateway is namespace/name. Required.
	Gateway string
	// ServiceAccount that the waypoint runs as. Default the Gateway's name.
	ServiceAccount string
	// TrustDomain of its identity. Default cluster.local.
	TrustDomain string
	// Pod is the pod's name. Default $POD_NAME, else host name and process id.
	Pod string
	// Controller is host:port of xDS and CA; RootFile and TokenFile prove it and us. All required.
	Controller, RootFile, TokenFile string
	// ControllerName is what the controller's certificate must name. Default the host of Controller.
	ControllerName string
	// CertTTL asked of the CA. Default 24 h.
	CertTTL time.Duration
	// Envoy is the binary; see bootstrap.FindEnvoy for the default.
	Envoy string
	// RunDir gets a directory of this process with its sockets. Default /run/weft-waypoint.
	RunDir string
	// Concurrency is the number of Envoy's worker threads. Default the CPUs this process may use.
	Concurrency int
	// HangTime is how long one of Envoy's threads may do one thing, e.g. in a module that loops; then Envoy is ended, and
	// started without that module. Default 30 s.
	HangTime time.Duration
	// TrialLimit is how long the trial of a patch may take. Default as trial.Options has it.
	TrialLimit time.Duration
	// LogLevel of Envoy. Default warning.
	LogLevel string
	// Drain is how long connections may live on after a signal. Default 5 s.
	Drain time.Duration
	// Metrics and Ready are listen addresses. Defaults :15020 and :15021; "off" none.
	Metrics, Ready string
	// MetricPrefix of request and connection metrics. Default weft_.
	MetricPrefix string
	// AccessLog of requests and TCP connections. Default JSON.
	AccessLog telemetry.Format
	// Out is where the access log goes, Err where Envoy's own output goes. Defaults stdout and stderr.
	Out, Err io.Writer
	// Logger, default none.
	Logger *zap.Logger

	// issuer stands in for the CA in tests.
	issuer ca.Issuer
}

func (o *Options) setDefaults() error {
	ns, name, ok := strings.Cut(o.Gateway, "/")
	if !ok || ns == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("gateway %q: want namespace/name of the Gateway this waypoint serves", o.Gateway)
	}
	if o.Controller == "" || o.RootFile == "" {
		return errors.New("the controller's address and the mesh's root certificate are both needed (--controller, --root-cert)")
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.ServiceAccount, name)
	def(&o.TrustDomain, identity.DefaultTrustDomain)
	def(&o.Pod, os.Getenv("POD_NAME"))
	if o.Pod == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name this pod: %w (set --pod or POD_NAME)", err)
		}
		o.Pod = host + "-" + strconv.Itoa(os.Getpid())
	}
	def(&o.RunDir, "/run/weft-waypoint")
	def(&o.LogLevel, "warning")
	def(&o.Metrics, net.JoinHostPort("", strconv.Itoa(api.PortMetrics)))
	def(&o.Ready, net.JoinHostPort("", strconv.Itoa(api.PortReady)))
	def(&o.MetricPrefix, telemetry.DefaultPrefix)
	if o.AccessLog == "" {
		o.AccessLog = telemetry.FormatJSON
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return nil
}

// identity is the waypoint's own.
func (o *Options) identity() identity.Identity {
	ns, _, _ := strings.Cut(o.Gateway, "/")
	return identity.Identity{TrustDomain: o.TrustDomain, Namespace: ns, ServiceAccount: o.ServiceAccount}
}

// NodeID is what the controller knows this waypoint's Envoy by.
func NodeID(gateway, pod string) string { return "waypoint~" + gateway + "~" + pod }
