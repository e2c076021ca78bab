package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/netns"
)

// waypointTraffic adds what the waypoints of a lab report: the requests, and who really made them. Their
// metrics are only reachable on the pods' network, which is asked from a node's namespace.
func (r *remote) waypointTraffic(ctx context.Context, g graph) error {
	if r.controller != "" || len(r.ztunnels) > 0 {
		return nil // programs were named one by one
	}
	c, err := lab.Load(r.lab)
	if err != nil {
		return err
	}
	snap, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range sorted(snap.Waypoints) {
		for _, pod := range waypointPods(snap, w) {
			page, err := fromNode(ctx, c, pod.Node, netip.AddrPortFrom(firstAddr(pod), api.PortMetrics))
			if err == nil {
				err = g.add(page, w.Key())
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("metrics of waypoint %s, pod %s: %w", w.Key(), workloadName(pod), err))
			}
		}
	}
	return errors.Join(errs...)
}

// fromNode asks for /metrics from inside a node of a lab.
func fromNode(ctx context.Context, c *lab.Config, node string, at netip.AddrPort) ([]byte, error) {
	ns, err := netns.Open("/run/netns/" + c.NodeNS(node))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return fetch(ctx, "/metrics", func(ctx context.Context) (net.Conn, error) { return ns.DialTCP(ctx, at, netns.DialOptions{}) })
}
