package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/weftmesh/weft/pkg/cli/cluster"
)

var gatewayResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

// waypointOptions are the flags of `waypoint` and its commands.
type waypointOptions struct {
	e         *env
	namespace string
	all       bool
	forWhat   string // service, workload, all
	enroll    bool   // let the namespace use it
	wait      bool
	dryRun    bool
	yes       bool
	timeout   time.Duration
	output    string
}

const defaultWaypoint = "waypoint"

func newWaypoint(e *env) *cobra.Command {
	o := &waypointOptions{e: e}
	cmd := &cobra.Command{
		Use:   "waypoint",
		Short: "Make, show and remove waypoints: the Envoy of a namespace, for routes and L7 policies",
		Long: `A waypoint is a Gateway of class weft-waypoint; the controller makes a Deployment and a Service of its name. Whoever is
labelled weft.dev/use-waypoint=NAME, a namespace or a service, is reached through it.`,
		Example: "  weftctl waypoint apply -n shop --enroll-namespace\n  weftctl waypoint status -n shop\n  weftctl waypoint list -A\n  weftctl waypoint delete waypoint -n shop",
	}
	cmd.PersistentFlags().StringVarP(&o.namespace, "namespace", "n", "", "namespace (default: the kubeconfig's, or default)")
	_ = cmd.RegisterFlagCompletionFunc("namespace", offer(func(cmd *cobra.Command, _ []string) []string { return e.namespaces(cmd.Context(), nil) }))
	cmd.AddCommand(newWaypointApply(o), newWaypointStatus(o), newWaypointList(o), newWaypointDelete(o))
	return cmd
}

func newWaypointApply(o *waypointOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply [NAME]", Short: "Make a waypoint, or change it, and wait until it serves",
		Long: `Applies a Gateway of class weft-waypoint (NAME: waypoint) and waits until it is programmed and its pods are ready.
Exit code 0: it serves. 1: it does not, and why. 2: called wrongly.`,
		Example: "  weftctl waypoint apply -n shop --enroll-namespace\n  weftctl waypoint apply gate -n shop --for workload\n  weftctl waypoint apply -n shop --dry-run",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(args, func(c *cluster.Cluster, name string) error { return o.apply(cmd.Context(), c, name) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.forWhat, "for", "service", "traffic that it takes: service, workload or all")
	f.BoolVar(&o.enroll, "enroll-namespace", false, "let everything in its namespace use it (label weft.dev/use-waypoint)")
	f.BoolVar(&o.wait, "wait", true, "wait until it serves")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the Gateway instead")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait")
	_ = cmd.RegisterFlagCompletionFunc("for", offerFixed("service", "workload", "all"))
	return cmd
}

func newWaypointStatus(o *waypointOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status [NAME]", Short: "Show whether a waypoint serves, and whom",
		Long:              "Shows conditions, pods and users of a waypoint (NAME: waypoint).\nExit code 0: it serves. 1: it does not, or is not there. 2: called wrongly.",
		Example:           "  weftctl waypoint status -n shop\n  weftctl waypoint status gate -n shop -o yaml",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(args, func(c *cluster.Cluster, name string) error { return o.status(cmd.Context(), c, name) })
		},
	}
	outputFlag(cmd, &o.output)
	return cmd
}

func newWaypointList(o *waypointOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List waypoints", Example: "  weftctl waypoint list -n shop\n  weftctl waypoint list -A -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(nil, func(c *cluster.Cluster, _ string) error { return o.list(cmd.Context(), c) })
		},
	}
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "of all namespaces")
	outputFlag(cmd, &o.output)
	return cmd
}

func newWaypointDelete(o *waypointOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Remove a waypoint; refused while somebody is labelled to use it",
		Long: `Removes the Gateway, and with it the controller's objects. Services whose waypoint is gone cannot be reached, so it is
refused while a namespace, service or pod names it; --yes removes it all the same.`,
		Example:           "  weftctl waypoint delete waypoint -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(args, func(c *cluster.Cluster, name string) error { return o.remove(cmd.Context(), c, name) })
		},
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "also while it is used")
	return cmd
}

// run opens the cluster and completes names.
func (o *waypointOptions) run(args []string, do func(c *cluster.Cluster, name string) error) error {
	if err := checkOutput(o.output, "json", "yaml"); err != nil {
		return err
	}
	if o.all && o.namespace != "" {
		return &exitError{2, errors.New("-n and -A exclude each other: name one namespace or all")}
	}
	c, err := o.e.kube.cluster()
	if err != nil {
		return err
	}
	if o.namespace == "" {
		o.namespace = o.e.kube.contextNamespace()
	}
	name := defaultWaypoint
	if len(args) > 0 {
		name = args[0]
	}
	return do(c, name)
}

func (o *waypointOptions) gateways(c *cluster.Cluster) dynamic.ResourceInterface {
	if o.all {
		return c.Dynamic.Resource(gatewayResource)
	}
	return c.Dynamic.Resource(gatewayResource).Namespace(o.namespace)
}

func (o *waypointOptions) completeNames() completion {
	return offer(func(cmd *cobra.Command, args []string) []string {
		var names []string
		_ = o.run(nil, func(c *cluster.Cluster, _ string) error {
			all, err := o.find(cmd.Context(), c)
			for _, g := range all {
				names = append(names, g.Name)
			}
			return err
		})
		if len(args) > 0 {
			return nil
		}
		return names
	})
}
