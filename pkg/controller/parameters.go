package controller

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// WaypointParameters are what a Gateway's parametersRef names; nil where there is none. With an error the
// waypoint is deployed without them.
func WaypointParameters(objs *source.Objects, g *gatewayv1.Gateway) (*deploy.Parameters, error) {
	if g.Spec.Infrastructure == nil || g.Spec.Infrastructure.ParametersRef == nil {
		return nil, nil
	}
	ref := g.Spec.Infrastructure.ParametersRef
	if ref.Group != "" || ref.Kind != "ConfigMap" {
		return nil, fmt.Errorf("parametersRef names a %s of group %q: only a ConfigMap (group \"\") is read", ref.Kind, ref.Group)
	}
	for _, m := range objs.ConfigMaps {
		if _, marked := m.Value.Labels[api.LabelWaypointParameters]; !marked || m.Value.Namespace != g.Namespace || m.Value.Name != ref.Name {
			continue
		}
		p, err := deploy.ParseParameters(m.Value.Data)
		if err != nil {
			return nil, fmt.Errorf("ConfigMap %s: %w", ref.Name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("there is no ConfigMap %s with the label %s", ref.Name, api.LabelWaypointParameters)
}
