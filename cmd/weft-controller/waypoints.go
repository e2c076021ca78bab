package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
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
)

// deployed is a waypoint that has its files written and its Envoys configured.
type deployed struct {
	iso  *isolate.Isolator
	file string
	text string
}

// setWaypoints deploys the Gateways that are there, publishes to their Envoys, and removes the others.
func (p *pipeline) setWaypoints(objs *source.Objects, snap *model.Snapshot) {
	there := map[string]bool{}
	for _, gw := range controller.Waypoints(objs) {
		key := gw.Namespace + "/" + gw.Name
		if snap.Waypoints[key] == nil {
			continue
		}
		there[key] = true
		if err := p.deploy(key, gw); err != nil {
			p.log.Error("deploy waypoint", zap.String("waypoint", key), zap.Error(err))
			continue
		}
		p.mu.Lock()
		iso := p.waypoints[key].iso
		p.mu.Unlock()
		if err := iso.Set(snap); err != nil {
			p.log.Error("publish to waypoint", zap.String("waypoint", key), zap.Error(err))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, w := range p.waypoints {
		if there[key] {
			continue
		}
		w.iso.Close()
		ns, name, _ := strings.Cut(key, "/")
		p.xds.ClearEnvoy(xds.WaypointNode(ns, name, ""))
		if err := os.Remove(w.file); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.log.Error("remove waypoint", zap.String("waypoint", key), zap.Error(err))
		}
		delete(p.waypoints, key)
		delete(p.refusals, key)
	}
}

// deploy writes a waypoint's objects when they changed and makes its isolator.
func (p *pipeline) deploy(key string, gw *gatewayv1.Gateway) error {
	text, err := deploy.Render(gw, deploy.Options{TrustDomain: p.c.trustDomain, ClusterDomain: p.c.clusterDomain}).YAML()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waypoints[key]
	if w == nil {
		iso, err := p.isolator(key)
		if err != nil {
			return err
		}
		w = &deployed{iso: iso, file: filepath.Join(p.c.deployDir, gw.Namespace+"_"+gw.Name+".yaml")}
		p.waypoints[key] = w
	}
	if w.text == string(text) {
		return nil
	}
	if err := writeFile(w.file, text); err != nil {
		return err
	}
	w.text = string(text)
	return nil
}

func (p *pipeline) isolator(key string) (*isolate.Isolator, error) {
	ns, name, _ := strings.Cut(key, "/")
	node := xds.WaypointNode(ns, name, "")
	return isolate.New(isolate.Options{
		Waypoint: key,
		Config:   translate.Config{Listen: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}},
		Publish:  func(s *cache.Snapshot) error { p.metrics.pushes.Inc(); return p.xds.SetEnvoy(node, s) },
		Connected: func() bool {
			for _, cl := range p.xds.Clients() {
				if strings.HasPrefix(cl.NodeID, node+"~") {
					return true
				}
			}
			return false
		},
		OnProblems: func(ps []translate.Problem) {
			p.mu.Lock()
			p.refusals[key] = ps
			p.mu.Unlock()
			p.writeStatus()
		},
		Logger: p.log,
	})
}

// writeFile replaces a file whole, so that no reader sees a half.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
