package main

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"go.uber.org/zap"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/waypoint/deploy"
	"github.com/weftmesh/weft/waypoint/isolate"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/verdict"
)

// deployed are the objects of every Gateway's waypoint.
func (p *pipeline) deployed(objs *source.Objects, snap *model.Snapshot) []*deploy.Objects {
	var out []*deploy.Objects
	for _, gw := range controller.Waypoints(objs) {
		if snap.Waypoints[gatewayKey(gw)] == nil {
			continue
		}
		parameters, _ := controller.WaypointParameters(objs, gw) // an error is in the Gateway's status
		out = append(out, deploy.Render(gw, deploy.Options{
			TrustDomain: p.c.trustDomain, ClusterDomain: p.c.clusterDomain, Image: p.c.waypointImage, Parameters: parameters,
		}))
	}
	return out
}

func gatewayKey(gw *gatewayv1.Gateway) string { return gw.Namespace + "/" + gw.Name }

// configureWaypoints publishes to the Envoys of every waypoint what is theirs.
func (p *pipeline) configureWaypoints(snap *model.Snapshot, of func(waypoint string) *model.Snapshot) {
	for _, key := range slices.Sorted(maps.Keys(snap.Waypoints)) {
		iso, err := p.isolator(key)
		if err == nil {
			err = iso.Set(of(key))
		}
		if err != nil {
			p.log.Error("publish to waypoint", zap.String("waypoint", key), zap.Error(err))
		}
	}
}

// forgetWaypoints ends what belongs to Gateways that are gone.
func (p *pipeline) forgetWaypoints(snap *model.Snapshot) {
	gone := map[string]*isolate.Isolator{}
	p.mu.Lock()
	for key, iso := range p.waypoints {
		if snap.Waypoints[key] == nil {
			gone[key] = iso
			delete(p.waypoints, key)
			p.words.forget(key)
		}
	}
	if len(gone) > 0 {
		p.report()
	}
	p.mu.Unlock()
	for key, iso := range gone { // not with mu held: an isolator that publishes waits for mu
		iso.Close()
		p.xds.ClearEnvoy(waypointNode(key))
	}
}

// knownIsolator is nil for a waypoint that is not there.
func (p *pipeline) knownIsolator(key string) *isolate.Isolator {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waypoints[key]
}

// isolator finds or makes a waypoint's.
func (p *pipeline) isolator(key string) (*isolate.Isolator, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if iso := p.waypoints[key]; iso != nil {
		return iso, nil
	}
	iso, err := p.newIsolator(key)
	if err == nil {
		p.waypoints[key] = iso
	}
	return iso, err
}

func (p *pipeline) newIsolator(key string) (*isolate.Isolator, error) {
	return isolate.New(isolate.Options{
		Waypoint:  key,
		Config:    translate.Config{Listen: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}},
		Publish:   func(s *cache.Snapshot) error { p.metrics.pushes.Inc(); return p.xds.SetEnvoy(waypointNode(key), s) },
		Connected: func() bool { return len(p.envoys(key)) > 0 },
		Current:   func() bool { return p.xds.EnvoyCurrent(waypointNode(key)) },
		OnWord: func(found []translate.Problem, w verdict.Word) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.waypoints[key] == nil {
				return // gone meanwhile
			}
			p.words.found[key], p.words.own[key] = found, w
			p.report()
			p.hear()
		},
		Logger: p.log,
	})
}

// envoys are the connected pods of a waypoint.
func (p *pipeline) envoys(key string) []xds.ClientState {
	return slices.DeleteFunc(p.xds.Clients(), func(c xds.ClientState) bool {
		return !strings.HasPrefix(c.NodeID, waypointNode(key)+"~")
	})
}

// waypointNode is the node id of all pods of a waypoint.
func waypointNode(key string) string {
	ns, name, _ := strings.Cut(key, "/")
	return xds.WaypointNode(ns, name, "")
}
