// Command weft-ztunnel carries the connections of the enrolled pods of one node.
//
// It takes pods from weft-agent (ZDS), configuration and certificates from weft-controller (xDS, CA), and
// needs the rights to enter the pods' network namespaces (CAP_SYS_ADMIN) and to make transparent, marked
// sockets there (CAP_NET_ADMIN); none on the Kubernetes API, and of BPF it has the maps that the agent hands it. SIGTERM drains: listeners
// close at once, connections live on up to --drain-seconds. A second signal ends it at once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/zds"
)

func main() {
	noCoreDumps()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // the second signal kills, as signals do
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft-ztunnel:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:           "weft-ztunnel --node NAME --controller HOST:PORT --token-file FILE --root-cert FILE",
		Short:         "Carry the connections of the enrolled pods of one node",
		Args:          cobra.NoArgs,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.node, "node", os.Getenv("NODE_NAME"), "name of this node (default $NODE_NAME)")
	f.StringVar(&c.controller, "controller", os.Getenv("WEFT_CONTROLLER"), "host:port of the controller's xDS and CA")
	f.StringVar(&c.controllerName, "controller-name", "", "name that the controller's certificate must have (default the host of --controller)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("WEFT_TOKEN_FILE"), "service-account token shown to the controller")
	f.StringVar(&c.rootCert, "root-cert", os.Getenv("WEFT_ROOT_CERT"), "roots that the controller's certificate must lead to")
	f.StringVar(&c.zdsSocket, "zds-socket", zds.DefaultPath, "unix socket of the agent")
	f.StringVar(&c.trustDomain, "trust-domain", "cluster.local", "trust domain of the pods' identities")
	f.StringVar(&c.clusterDomain, "cluster-domain", "cluster.local", "suffix of service names")
	f.DurationVar(&c.certTTL, "cert-ttl", 24*time.Hour, "lifetime of certificates to ask for, at least 30s")
	f.StringVar(&c.handoverDir, "handover-dir", "", "folder, of this user alone, in which a new ztunnel asks the old one of this node for its connections (default: they drain)")
	f.StringVar(&c.admin, "admin", "127.0.0.1:15000", "loopback address of the admin page, or off")
	f.StringVar(&c.adminSocket, "admin-socket", "", "unix socket of the admin page")
	f.StringVar(&c.metrics, "metrics", ":15020", "address of /metrics, or off")
	f.StringVar(&c.ready, "ready", ":15021", "address of /ready, or off")
	f.StringVar(&c.dnsUpstream, "dns-upstream", "", "name server (IP or IP:port) for names outside the mesh (default the one that the pod asks)")
	f.BoolVar(&c.dnsAuthoritative, "dns-authoritative", false, "answer NXDOMAIN for unknown services of the cluster domain instead of asking upstream")
	f.IntVar(&c.drainSeconds, "drain-seconds", 5, "how long connections may live on after SIGTERM")
	f.StringVar(&c.tunnelTLS, "tunnel-tls", usualTunnelTLS(), "what drives tunnels: records (own TLS 1.3 records after crypto/tls's handshake, on epoll shards) or stdlib (crypto/tls and goroutines; the one for FIPS mode)")
	f.StringVar(&c.accessLog, "access-log", "json", "access log on standard output: json, text or off")
	f.StringVar(&c.collector, "trace-collector", "", "collector of spans by OTLP over gRPC, http://HOST:PORT or https://HOST:PORT (default none)")
	f.Float64Var(&c.tracePercentage, "trace-percentage", 1, "how many of the connections that come without a trace begin a recorded one, if there is a collector")
	f.Int64Var(&c.memoryLimit, "memory-limit", 0, "bytes of memory near which new connections are refused (default the limit of the control group)")
	f.StringVar(&c.metricPrefix, "metric-prefix", telemetry.DefaultPrefix, "prefix of metric names")
	f.StringVar(&c.logLevel, "log-level", "info", "this program's log on standard error: debug, info, warn, error")
	f.StringVar(&c.logFormat, "log-format", "text", "this program's log: text or json")
	return cmd
}

// noCoreDumps keeps private keys out of files, and other users' debuggers away.
func noCoreDumps() {
	if os.Geteuid() == 0 { // else /proc/self would be closed to ourselves
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
}
