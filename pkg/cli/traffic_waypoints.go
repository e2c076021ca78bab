package cli

import (
	"context"
	"errors"
	"fmt"
)

// waypointTraffic adds what the waypoints report: the requests, and who really made them.
func (r *remote) waypointTraffic(ctx context.Context, b backend, g graph) error {
	if l, ok := b.(*labBackend); ok && l.given() {
		return nil // programs were named one by one
	}
	snap, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range sorted(snap.Waypoints) {
		for _, pod := range waypointPods(snap, w) {
			body, err := b.waypoint(pod)(ctx, "/metrics")
			if err == nil {
				err = g.add(body, w.Key())
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("metrics of waypoint %s, pod %s: %w", w.Key(), workloadName(pod), err))
			}
		}
	}
	return errors.Join(errs...)
}
