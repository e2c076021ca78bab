// Command weft-controller turns objects into the mesh's configuration.
//
// It reads a cluster, or folders of Kubernetes YAML, compiles the objects into one Snapshot, serves that over
// xDS to ztunnels and, translated, to the Envoys of waypoints, signs identities, writes the waypoints'
// Deployments and the objects' status. Of several on a cluster all serve and one writes. It is never on the data path: while it is away, traffic goes on as last configured.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

// config is what the flags say.
type config struct {
	sources       []string
	kubeconfig    string
	caSecret      string
	waypointImage string
	taintNodes    bool
	metricsListen string
	stateDir      string
	deployDir     string
	listen        string
	debugListen   string
	adminSocket   string
	trustDomain   string
	clusterDomain string
	podRanges     []netip.Prefix
	caDir         string
	certTTL       time.Duration
	tokenKey      string
	logLevel      string
	logFormat     string

	onListen  func(net.Addr) // of a test that listens on any port
	modules   *http.Client   // of a test that serves modules itself
	orderWait time.Duration  // see publisher; default orderWait
	linger    time.Duration  // how long a waypoint goes on serving what left it; 0 is the usual
	replica   string         // among several; default POD_NAME, or the host's name
	lease     time.Duration  // see cluster.Options
	prune     time.Duration  // see prune; default pruneAfter
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // the second signal kills, as signals do
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft-controller:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:           "weft-controller --source kubernetes|dir:PATH --ca-dir DIR --token-public-key FILE",
		Short:         "Compile objects into the mesh's configuration, serve it, sign identities",
		Args:          cobra.NoArgs,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.sources, "source", nil, "where objects are: kubernetes, or dir:PATH, a folder of YAML that is watched (repeatable)")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "how to reach the cluster (default: as a pod of it, else $KUBECONFIG)")
	f.StringVar(&c.stateDir, "state-dir", "/var/lib/weft", "where status of objects is written, and read what agents announce: DIR/status")
	f.StringVar(&c.deployDir, "deploy-dir", "", "where the Deployments of waypoints are written (default STATE-DIR/deploy)")
	f.StringVar(&c.listen, "listen", ":15012", "address of xDS and CA")
	f.StringVar(&c.debugListen, "debug-listen", "127.0.0.1:15014", "address of /metrics and /debug, or off")
	f.StringVar(&c.metricsListen, "metrics-listen", "off", "address of /metrics, /ready and /version alone, or off")
	f.StringVar(&c.adminSocket, "admin-socket", "", "unix socket with the same pages")
	f.StringVar(&c.trustDomain, "trust-domain", identity.DefaultTrustDomain, "trust domain of all identities")
	f.StringVar(&c.clusterDomain, "cluster-domain", "cluster.local", "suffix of service names")
	f.Var(prefixes{&c.podRanges}, "pod-ranges", "blocks of addresses that only pods have, beside those that the Nodes tell: 10.0.0.0/14,fd00::/48")
	f.StringVar(&c.caDir, "ca-dir", "/var/lib/weft/ca", "folder of the mesh's root; a root is made there if there is none")
	f.StringVar(&c.caSecret, "ca-secret", "", "Secret of weft-system with the mesh's root, mirrored into --ca-dir; made if it is not there")
	f.StringVar(&c.waypointImage, "waypoint-image", "", "image of the pods of waypoints")
	f.BoolVar(&c.taintNodes, "taint-nodes", false, "keep pods off nodes whose agent is not ready, by the taint weft.dev/agent-not-ready")
	f.DurationVar(&c.certTTL, "cert-ttl", ca.DefaultTTL, "longest life of a workload's certificate, at least 30s")
	f.StringVar(&c.tokenKey, "token-public-key", "", "file of public keys (PEM or JWKS) of the service-account tokens that callers show, or kubernetes: those of the API server")
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	cmd.AddCommand(tokenCommand(), caCommand(), uninstallCommand())
	return cmd
}
