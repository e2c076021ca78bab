package subscribe

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/xds/wire"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// ReportHealth tells a controller which workloads of a node fail a health check. It has to be repeated well
// within wire.HealthLife.
func ReportHealth(ctx context.Context, conn grpc.ClientConnInterface, node string, unhealthy []string) error {
	in := &weftv1.HealthReport{Node: node, Unhealthy: unhealthy}
	if err := conn.Invoke(ctx, "/"+wire.HealthService+"/Report", in, &weftv1.HealthAnswer{}); err != nil {
		return fmt.Errorf("report health of node %s: %w", node, err)
	}
	return nil
}
