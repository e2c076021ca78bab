package controller

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// compileSlices gives services without a selector the endpoints of their EndpointSlices: pods, where the
// slice names pods or an address is a pod's, else addresses outside of the mesh.
func (c *compiler) compileSlices() {
	byAddress := map[netip.Addr][]*podInfo{}
	if len(c.objs.EndpointSlices) > 0 {
		for _, list := range c.pods.all {
			for _, p := range list {
				for _, a := range p.workload.Addresses {
					byAddress[a] = append(byAddress[a], p)
				}
			}
		}
	}
	for _, o := range c.objs.EndpointSlices {
		s := o.Value
		info := c.services[s.Namespace+"/"+s.Labels[discoveryv1.LabelServiceName]]
		if info == nil || len(info.object.Spec.Selector) > 0 || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, e := range s.Endpoints {
			for _, addr := range addresses(e.Addresses) {
				p := c.sliceEndpoint(s, &e, addr, byAddress[addr])
				c.endpoint(info, p, slicePorts(info, s))
			}
		}
	}
}

// sliceEndpoint finds the pod behind an address, or makes a workload that is no pod.
func (c *compiler) sliceEndpoint(s *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, addr netip.Addr, at []*podInfo) *podInfo {
	if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" && (ref.Namespace == "" || ref.Namespace == s.Namespace) {
		if p := c.pods.byName[s.Namespace+"/"+ref.Name]; p != nil {
			return p
		}
	}
	if len(at) == 1 && !at[0].workload.HostNetwork {
		return at[0]
	}
	uid := c.cfg.Cluster + "/discovery.k8s.io/EndpointSlice/" + s.Namespace + "/" + s.Name + "/" + addr.String()
	w := c.snap.Workloads.Get(uid)
	if w == nil {
		w = &model.Workload{
			UID: uid, Name: s.Name + "/" + addr.String(), Namespace: s.Namespace, Addresses: []netip.Addr{addr},
			Cluster: c.cfg.Cluster, Network: c.cfg.Network, OwnerKind: "pod", OwnerName: s.Name, TrustDomain: c.cfg.TrustDomain,
			Unhealthy: e.Conditions.Ready != nil && !*e.Conditions.Ready,
		}
		if e.NodeName != nil {
			w.Node, w.Locality = *e.NodeName, c.locality(*e.NodeName)
		}
		c.snap.Workloads.Set(uid, w)
	}
	return &podInfo{workload: w}
}

func slicePorts(info *serviceInfo, s *discoveryv1.EndpointSlice) []model.Port {
	var out []model.Port
	for _, sp := range info.object.Spec.Ports {
		for _, ep := range s.Ports {
			name := ""
			if ep.Name != nil {
				name = *ep.Name
			}
			if isTCP(sp.Protocol) && name == sp.Name && ep.Port != nil {
				out = append(out, model.Port{ServicePort: uint16(sp.Port), TargetPort: uint16(*ep.Port), App: appProtocol(sp), Name: sp.Name})
			}
		}
	}
	return out
}
