package controller

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// Preview compiles manifests as they would work once a cluster runs them: each Deployment has a ready pod,
// captured where its labels ask for it, each Service an address and each waypoint its Envoy. It is pure.
// Addresses in the result are made up.
func Preview(objs *source.Objects, cfg Config) *model.Snapshot {
	snap, _ := Compile(withImaginedPods(withWaypoints(objs, cfg)), cfg)
	return snap
}

// withWaypoints adds what the controller deploys for Gateways. The argument is not changed.
func withWaypoints(objs *source.Objects, cfg Config) *source.Objects {
	out := *objs
	out.Deployments, out.Services = slices.Clip(objs.Deployments), slices.Clip(objs.Services)
	for _, gw := range Waypoints(objs) {
		if slices.ContainsFunc(objs.Services, func(s source.Object[corev1.Service]) bool {
			return s.Value.Namespace == gw.Namespace && s.Value.Name == gw.Name
		}) {
			continue
		}
		made := deploy.Render(gw, deploy.Options{TrustDomain: cfg.TrustDomain, ClusterDomain: cfg.ClusterDomain})
		out.Services = append(out.Services, source.Object[corev1.Service]{Value: made.Service})
		out.Deployments = append(out.Deployments, source.Object[appsv1.Deployment]{Value: made.Deployment})
	}
	return &out
}
