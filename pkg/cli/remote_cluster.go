package cli

import (
	"context"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/model"
)

// clusterBackend asks the pods of a cluster through port-forwarding.
type clusterBackend struct {
	*cluster.Cluster
	found []*cluster.Program // asked for once
}

func (b *clusterBackend) pods(ctx context.Context) ([]*cluster.Program, error) {
	if b.found != nil {
		return b.found, nil
	}
	all, err := b.Programs(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no program of Weft runs in namespace %s of %s: install it (weftctl install), or choose another cluster (--context)", api.SystemNamespace, b.Name)
	}
	b.found = all
	return all, nil
}

// forward reads a program's pages.
func (b *clusterBackend) forward(namespace, pod string, port int) page {
	return func(ctx context.Context, path string) ([]byte, error) {
		body, err := fetch(ctx, path, func(ctx context.Context) (net.Conn, error) { return b.Dial(ctx, namespace, pod, port) })
		switch {
		case apierrors.IsForbidden(err):
			return nil, fmt.Errorf("%w: looking into the mesh takes the right to create pods/portforward in %s", err, namespace)
		case err != nil:
			return nil, fmt.Errorf("pod %s/%s, port %d: %w", namespace, pod, port, err)
		}
		return body, nil
	}
}

// of reads the pages of a program that runs.
func (b *clusterBackend) of(p *cluster.Program) page {
	if p.Running() {
		return b.forward(p.Namespace, p.Pod, p.Port())
	}
	return func(context.Context, string) ([]byte, error) {
		return nil, fmt.Errorf("pod %s/%s does not run (%s): kubectl -n %[1]s describe pod %[2]s", p.Namespace, p.Pod, p.Trouble())
	}
}

func (b *clusterBackend) controller(ctx context.Context) (page, error) {
	all, err := b.pods(ctx)
	if err != nil {
		return nil, err
	}
	p := b.Leader(ctx, all)
	if p == nil {
		return nil, fmt.Errorf("no controller runs in namespace %s of %s: kubectl -n %[1]s describe deployment %[3]s", api.SystemNamespace, b.Name, cluster.Controller)
	}
	return b.of(p), nil
}

func (b *clusterBackend) ztunnels(ctx context.Context) (map[string]page, error) {
	all, err := b.pods(ctx)
	if err != nil {
		return nil, err
	}
	pages := map[string]page{}
	for _, p := range cluster.Of(cluster.Ztunnel, all) {
		if _, twice := pages[p.Node]; !twice || p.Ready { // of the two during an update, the one that serves
			pages[p.Node] = b.of(p)
		}
	}
	return pages, nil
}

func (b *clusterBackend) programs(ctx context.Context) (map[string]page, error) {
	all, err := b.pods(ctx)
	if err != nil {
		return nil, err
	}
	pages := map[string]page{}
	for _, p := range all {
		if p.Kind != api.WaypointClass { // their pages have metrics only
			pages[p.Name()] = b.of(p)
		}
	}
	return pages, nil
}

func (b *clusterBackend) waypoint(pod *model.Workload) page {
	return b.forward(pod.Namespace, pod.Name, api.PortMetrics)
}
