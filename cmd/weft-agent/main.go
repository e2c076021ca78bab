// Command weft-agent takes the pods of one node into the mesh.
//
// It reads pods and namespaces, gives the network namespaces of those that are labelled to weft-ztunnel
// (ZDS), steers their traffic there by eBPF, and announces them. It is not on the data path: when it ends,
// however it ends, all that is captured stays captured, and the next agent goes on from there. It needs
// root, the host's PID namespace, a bpffs and cgroup2.
//
// `weft-agent cleanup` takes the whole node out of the mesh.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/zds"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // the second signal kills, as signals do
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft-agent:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:           "weft-agent --node NAME --source kubernetes",
		Short:         "Take the pods of one node into the mesh",
		Args:          cobra.NoArgs,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), c)
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.node, "node", os.Getenv("NODE_NAME"), "name of this node (default $NODE_NAME)")
	f.StringVar(&c.bpfRoot, "bpf-root", bpf.DefaultRoot, "folder on a bpffs; what is pinned is in <bpf-root>/<node>")
	f.StringVar(&c.statusDir, "status-dir", "", "folder to announce captured pods in: <status-dir>/pods/<namespace>_<name>.json")
	f.StringVar(&c.logLevel, "log-level", "info", "log on standard error: debug, info, warn, error")
	f.StringVar(&c.logFormat, "log-format", "text", "log: text or json")
	f.StringVar(&c.cniSocket, "cni-socket", "", "unix socket that weft-cni asks before a pod starts; empty: pods start without being asked")
	f.StringVar(&c.cni.confDir, "cni-conf-dir", "", "folder of the node's CNI configuration, to keep weft-cni chained in; empty: somebody else does")
	f.StringVar(&c.cni.binDir, "cni-bin-dir", "", "folder of the node's CNI plugins, to copy weft-cni to")
	f = cmd.Flags()
	f.StringVar(&c.cni.hostSocket, "cni-host-socket", cni.DefaultSocket, "--cni-socket as the node sees it")
	f.StringVar(&c.cni.plugin, "cni-plugin", "/opt/weft/bin/weft-cni", "the plugin to copy to the node")
	f.StringArrayVar(&c.sources, "source", nil, "where pods and namespaces are read: kubernetes, or dir:PATH (repeatable)")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "with --source kubernetes: file that says how to reach the API server (default: as in a pod, else $KUBECONFIG)")
	f.StringVar(&c.netns, "netns", "", "auto: find pods' network namespaces by their processes (default with --source kubernetes)")
	f.StringVar(&c.netnsPattern, "netns-pattern", "", "where a pod's network namespace is: a path with {namespace}, {name}, {uid}")
	f.StringVar(&c.zdsSocket, "zds-socket", zds.DefaultPath, "unix socket that the ztunnel connects to")
	f.StringArrayVar(&c.kubeletCgroups, "kubelet-cgroup", nil, "cgroup2 folder of the kubelet, whose probes reach applications directly (repeatable), or auto: found by its process")
	f.StringVar(&c.adminSocket, "admin-socket", "", "unix socket of the admin pages")
	f.StringVar(&c.metrics, "metrics-addr", "127.0.0.1:15010", "address of /metrics and /ready, or off")
	f.IntVar(&c.maxPods, "max-pods", 1024, "most enrolled pods at a time")
	f.StringVar(&c.sameNode, "same-node", api.SameNodeEncrypt, "how pods of this node talk to each other, unless their namespaces say otherwise (label "+api.LabelSameNode+"): direct, straight through the kernel where policy leaves it open, or encrypt, by the tunnel")
	f.StringVar(&c.handOver, "same-node-hand-over", handNever, "whether packets between such pods are handed from interface to interface, past the node's firewall, instead of forwarded by the node: never; unselected, where no NetworkPolicy selects the pods; always, whatever NetworkPolicies say")
	f.DurationVar(&c.linger, "linger", 0, "how long a pod that leaves the mesh stays captured after that was announced (default 1s)")
	cmd.AddCommand(cleanupCommand(&c))
	return cmd
}

func cleanupCommand(c *config) *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup --node NAME",
		Short: "Take all pods of the node out of the mesh and remove everything pinned; no agent may run",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return cleanup(*c)
		},
	}
}

// pins is where this node's eBPF objects are.
func (c config) pins() string { return filepath.Join(c.bpfRoot, c.node) }
