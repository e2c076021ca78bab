package lab

import (
	"errors"
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/bootstrap"
)

// findEnvoy settles which Envoy waypoints run, as an absolute path. That there is none is an error only when
// one is needed.
func (c *Config) findEnvoy() error {
	found, err := bootstrap.FindEnvoy(c.Envoy)
	if errors.Is(err, bootstrap.ErrNoEnvoy) && !c.NeedEnvoy {
		waypoint, where := c.waypoint()
		if waypoint == "" {
			return nil
		}
		return fmt.Errorf("the Gateway %s (%s) asks for a waypoint, which runs in an Envoy: %w", waypoint, where, err)
	}
	if err != nil {
		return fmt.Errorf("waypoints run in an Envoy: %w", err)
	}
	c.Envoy = found
	return nil
}

// waypoint names a Gateway of the manifests that asks for a waypoint, and its place; "" when none does.
func (c *Config) waypoint() (name, where string) {
	d, err := source.Open(source.Options{Dirs: c.Manifests})
	if err != nil {
		return "", ""
	}
	all, _ := d.Load()
	for _, g := range all.Gateways {
		if g.Value.Spec.GatewayClassName == api.WaypointClass {
			return g.Value.Namespace + "/" + g.Value.Name, g.Origin.String()
		}
	}
	return "", ""
}
