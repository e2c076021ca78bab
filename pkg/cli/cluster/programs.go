package cluster

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// Programs of the mesh, named as their service accounts.
const (
	Controller = "weft-controller"
	Agent      = "weft-agent"
	Ztunnel    = "weft-ztunnel"
)

// Ports of their pages, on the pods' loopback.
const (
	PortControllerPages = 15016
	PortAgentPages      = 15010
)

// Program is one pod of the mesh.
type Program struct {
	Kind      string // weft-controller, weft-agent, weft-ztunnel, weft-waypoint
	Namespace string
	Pod       string
	Node      string
	Ready     bool
	Restarts  int32
	Image     string
	Object    *corev1.Pod
}

// Name tells programs apart as people say it: ztunnel/n1, waypoint/shop/gate-abc.
func (p *Program) Name() string {
	short := strings.TrimPrefix(p.Kind, "weft-")
	switch p.Kind {
	case Agent, Ztunnel:
		return short + "/" + p.Node
	case api.WaypointClass:
		return short + "/" + p.Namespace + "/" + p.Pod
	}
	return short + "/" + p.Pod
}

// Port is where its pages are.
func (p *Program) Port() int {
	switch p.Kind {
	case Controller:
		return PortControllerPages
	case Agent:
		return PortAgentPages
	case Ztunnel:
		return api.PortAdmin
	}
	return api.PortMetrics
}

// Programs lists the pods of controller, agents, ztunnels and waypoints, sorted by name. Pods that have ended are left out.
func (c *Cluster) Programs(ctx context.Context) ([]*Program, error) {
	ctx, cancel := Short(ctx)
	defer cancel()
	pods, err := c.Client.CoreV1().Pods(api.SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("list the pods of %s: %w", api.SystemNamespace, err))
	}
	var out []*Program
	for i := range pods.Items {
		p := &pods.Items[i]
		if kind := p.Spec.ServiceAccountName; slices.Contains([]string{Controller, Agent, Ztunnel}, kind) && running(p) {
			out = append(out, program(kind, p))
		}
	}
	waypoints, err := c.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: api.LabelGatewayName})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("list the waypoints' pods: %w", err))
	}
	for i := range waypoints.Items {
		if p := &waypoints.Items[i]; running(p) {
			out = append(out, program(api.WaypointClass, p))
		}
	}
	slices.SortFunc(out, func(a, b *Program) int { return strings.Compare(a.Name()+" "+a.Pod, b.Name()+" "+b.Pod) })
	return out, nil
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func program(kind string, p *corev1.Pod) *Program {
	out := &Program{Kind: kind, Namespace: p.Namespace, Pod: p.Name, Node: p.Spec.NodeName, Ready: PodReady(p), Object: p}
	for _, s := range p.Status.ContainerStatuses {
		out.Restarts += s.RestartCount
	}
	if len(p.Spec.Containers) > 0 {
		out.Image = p.Spec.Containers[0].Image
	}
	return out
}

// Running reports whether any container runs, so that there is somebody to ask.
func (p *Program) Running() bool {
	return slices.ContainsFunc(p.Object.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
}

// Trouble is why a pod is not ready, in a few words; empty when it is.
func (p *Program) Trouble() string {
	if p.Ready {
		return ""
	}
	if p.Object.DeletionTimestamp != nil {
		return "is being deleted"
	}
	for _, s := range slices.Concat(p.Object.Status.InitContainerStatuses, p.Object.Status.ContainerStatuses) {
		switch {
		case s.State.Waiting != nil && s.State.Waiting.Reason != "" && s.State.Waiting.Reason != "PodInitializing":
			return s.State.Waiting.Reason
		case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
			return fmt.Sprintf("exited with %d", s.State.Terminated.ExitCode)
		}
	}
	for _, c := range p.Object.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason
		}
	}
	if p.Running() {
		return "not ready"
	}
	return string(p.Object.Status.Phase)
}

// PodReady reports the condition Ready of a pod that is not being deleted.
func PodReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Of picks the programs of one kind.
func Of(kind string, all []*Program) []*Program {
	return slices.DeleteFunc(slices.Clone(all), func(p *Program) bool { return p.Kind != kind })
}

// Leader is the controller that writes, by the Lease; where the Lease names none of them, one that is ready,
// and where there is no controller at all, nil.
func (c *Cluster) Leader(ctx context.Context, all []*Program) *Program {
	controllers := Of(Controller, all)
	lease, err := c.Client.CoordinationV1().Leases(api.SystemNamespace).Get(ctx, Controller, metav1.GetOptions{})
	if err == nil && lease.Spec.HolderIdentity != nil {
		for _, p := range controllers {
			if strings.HasPrefix(*lease.Spec.HolderIdentity, p.Pod) {
				return p
			}
		}
	}
	for _, p := range controllers {
		if p.Ready {
			return p
		}
	}
	if len(controllers) > 0 {
		return controllers[0]
	}
	return nil
}

// Logs streams what a container of a pod wrote.
func (c *Cluster) Logs(ctx context.Context, namespace, pod string, o corev1.PodLogOptions) (io.ReadCloser, error) {
	r, err := c.Client.CoreV1().Pods(namespace).GetLogs(pod, &o).Stream(ctx)
	if err != nil {
		return nil, c.Explain(fmt.Errorf("read the log of pod %s/%s: %w", namespace, pod, err))
	}
	return r, nil
}

// Gateway is the waypoint that a pod is of; empty for other programs.
func (p *Program) Gateway() string { return p.Object.Labels[api.LabelGatewayName] }
