package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/lab"
)

// logsOptions are the flags of `logs`.
type logsOptions struct {
	remote
	follow    bool
	previous  bool
	container string
	tail      int64
}

func newLogs(e *env) *cobra.Command {
	o := &logsOptions{}
	cmd := &cobra.Command{
		Use:   "logs PROGRAM|POD",
		Short: "Print what a program of the mesh wrote: controller, agent/NODE, ztunnel/NODE, waypoint/NAMESPACE/NAME",
		Long: `PROGRAM is controller (the leader), agent/NODE, ztunnel/NODE, or waypoint/NAMESPACE/NAME (one of its pods). POD is
any pod, namespace/name.
` + whereText,
		Example: `  weftctl logs controller
  weftctl logs -f ztunnel/n1
  weftctl logs waypoint/shop/waypoint --tail 20`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: offer(func(cmd *cobra.Command, args []string) []string { return o.names(cmd.Context(), args) }),
		RunE:              func(cmd *cobra.Command, args []string) error { return e.logs(cmd.Context(), o, args[0]) },
	}
	o.flags(e, cmd)
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on as more is written")
	f.BoolVarP(&o.previous, "previous", "p", false, "of the container before it was started anew (cluster)")
	f.StringVarP(&o.container, "container", "c", "", "container of the pod (default: the first)")
	f.Int64Var(&o.tail, "tail", -1, "only so many of the last lines (cluster)")
	return cmd
}

func (e *env) logs(ctx context.Context, o *logsOptions, what string) error {
	b, err := o.backend()
	if err != nil {
		return err
	}
	onCluster, ok := b.(*clusterBackend)
	if !ok {
		c, err := lab.Load(o.lab)
		if err != nil {
			return err
		}
		path, err := logOf(c, what, o.container)
		if err != nil {
			return err
		}
		return e.copyLog(ctx, path, o.follow)
	}
	namespace, pod, err := onCluster.podNamed(ctx, what)
	if err != nil {
		return err
	}
	lo := corev1.PodLogOptions{Container: o.container, Follow: o.follow, Previous: o.previous}
	if o.tail >= 0 {
		lo.TailLines = &o.tail
	}
	r, err := onCluster.Logs(ctx, namespace, pod, lo)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err = io.Copy(e.stdout, r); ctx.Err() != nil {
		return nil // the person has seen enough
	}
	return err
}

// podNamed finds the pod of a program, or any pod by namespace/name.
func (b *clusterBackend) podNamed(ctx context.Context, what string) (namespace, pod string, err error) {
	all, err := b.pods(ctx)
	if err != nil {
		return "", "", err
	}
	if what == "controller" {
		if p := b.Leader(ctx, all); p != nil {
			return p.Namespace, p.Pod, nil
		}
	}
	if p := newest(all, func(p *cluster.Program) bool {
		return p.Name() == what || p.Namespace+"/"+p.Pod == what || waypointOf(p) == what
	}); p != nil {
		return p.Namespace, p.Pod, nil
	}
	if namespace, pod, ok := strings.Cut(what, "/"); ok && !strings.Contains(pod, "/") {
		if _, err := b.Client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{}); err == nil {
			return namespace, pod, nil
		}
	}
	return "", "", fmt.Errorf("neither a program nor a pod is called %q; programs: %s", what, strings.Join(programNames(all), ", "))
}

// newest is the youngest that matches: during an update, the one that goes on.
func newest(all []*cluster.Program, match func(*cluster.Program) bool) *cluster.Program {
	var found *cluster.Program
	for _, p := range all {
		if match(p) && (found == nil || p.Object.CreationTimestamp.After(found.Object.CreationTimestamp.Time)) {
			found = p
		}
	}
	return found
}

// waypointOf names the Gateway that a waypoint's pod is of.
func waypointOf(p *cluster.Program) string {
	return "waypoint/" + p.Namespace + "/" + p.Gateway()
}

func programNames(all []*cluster.Program) []string {
	names := []string{}
	for _, p := range all {
		switch p.Kind {
		case cluster.Controller, cluster.Agent, cluster.Ztunnel:
			names = append(names, p.Name())
		default:
			names = append(names, waypointOf(p))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// names are what the shell offers.
func (o *logsOptions) names(ctx context.Context, args []string) []string {
	b, err := o.backend()
	if err != nil || len(args) > 0 {
		return nil
	}
	if c, ok := b.(*clusterBackend); ok {
		all, err := c.pods(ctx)
		if err != nil {
			return nil
		}
		return append(programNames(all), "controller")
	}
	c, err := lab.Load(o.lab)
	if err != nil {
		return nil
	}
	st, err := c.ReadState()
	if err != nil {
		return nil
	}
	return st.ProgramNames()
}
