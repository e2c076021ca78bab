package controller

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// compileServices makes services and gives their pods to them.
func (c *compiler) compileServices() {
	for _, o := range c.objs.Services {
		s := o.Value
		if s.Spec.Type == corev1.ServiceTypeExternalName {
			continue // a name for another name: resolved by the cluster's DNS
		}
		info := &serviceInfo{object: s, model: c.service(s)}
		if info.use = c.waypointUse(s.Labels, s.Namespace, "service"); info.use != nil {
			info.model.Waypoint = info.use.gateway
			c.bound(info, o.Origin)
		}
		c.services[s.Namespace+"/"+s.Name] = info
		c.snap.Services[info.model.Key()] = info.model
		if len(s.Spec.Selector) == 0 {
			continue
		}
		for _, p := range c.pods.matching(s.Namespace, s.Spec.Selector) {
			c.endpoint(info, p, podPorts(s, p.object))
		}
	}
}

// bound says in the service's status whether its calls pass the waypoint.
func (c *compiler) bound(info *serviceInfo, at source.Origin) {
	st := c.status("Service", info.object, at)
	u := info.use
	switch {
	case u.waypoint == nil:
		st.set(conditionBound, false, u.reason, "calls are refused: %s", u.message)
		st.fail(`metadata.labels["`+api.LabelUseWaypoint+`"]`, "calls are refused: "+u.message,
			fmt.Sprintf("make the Gateway, or correct the label %s of the service or its namespace", api.LabelUseWaypoint))
	case headless(info.object):
		st.set(conditionBound, false, "Headless", "calls go to the pods' own addresses, past the waypoint: a service without cluster IP has nothing to address it by")
		st.warn("spec.clusterIP", "a headless service is not served by waypoint "+u.waypoint.Key(), "give it a cluster IP, or label the pods for a waypoint for workloads")
	default:
		st.set(conditionBound, true, "WaypointBound", "calls pass waypoint %s", u.waypoint.Key())
	}
}

func headless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// served reports whether calls to the service's address pass a waypoint.
func (i *serviceInfo) served() bool {
	return i.use != nil && i.use.waypoint != nil && !headless(i.object)
}

// waypoint is the one that serves the service, nil if none does.
func (i *serviceInfo) waypoint() *model.Waypoint {
	if !i.served() {
		return nil
	}
	return i.use.waypoint
}

func (c *compiler) service(s *corev1.Service) *model.Service {
	out := &model.Service{
		Name: s.Name, Namespace: s.Namespace, Hostname: model.ServiceHostname(s.Name, s.Namespace, c.cfg.ClusterDomain),
		PublishNotReady: s.Spec.PublishNotReadyAddresses, Canonical: true,
	}
	if !headless(s) {
		out.Addresses = addresses(append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...))
	}
	for _, p := range s.Spec.Ports {
		if !isTCP(p.Protocol) {
			continue
		}
		out.Ports = append(out.Ports, model.Port{ServicePort: uint16(p.Port), TargetPort: numericTarget(p), App: appProtocol(p), Name: p.Name})
	}
	out.Preference, out.StrictPreference = preference(s)
	return out
}

func isTCP(p corev1.Protocol) bool { return p == "" || p == corev1.ProtocolTCP }

// numericTarget is the target port where it is a number; 0 where each pod has its own behind a name.
func numericTarget(p corev1.ServicePort) uint16 {
	switch {
	case p.TargetPort.StrVal != "":
		return 0
	case p.TargetPort.IntVal != 0:
		return uint16(p.TargetPort.IntVal)
	}
	return uint16(p.Port)
}

// preference says which endpoints are taken first.
func preference(s *corev1.Service) (scopes []model.Scope, strict bool) {
	if l := s.Spec.InternalTrafficPolicy; l != nil && *l == corev1.ServiceInternalTrafficPolicyLocal {
		return []model.Scope{model.ScopeNode}, true
	}
	if d := s.Spec.TrafficDistribution; d != nil {
		switch *d {
		case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
			return []model.Scope{model.ScopeNetwork, model.ScopeRegion, model.ScopeZone}, false
		case corev1.ServiceTrafficDistributionPreferSameNode:
			return []model.Scope{model.ScopeNetwork, model.ScopeRegion, model.ScopeZone, model.ScopeSubzone, model.ScopeNode}, false
		}
	}
	return nil, false
}

// appProtocol reads what is spoken on a port from appProtocol, else from the beginning of its name.
func appProtocol(p corev1.ServicePort) model.AppProtocol {
	name, _, _ := strings.Cut(p.Name, "-")
	if p.AppProtocol != nil {
		name = strings.TrimPrefix(strings.ToLower(*p.AppProtocol), "kubernetes.io/")
	}
	switch name {
	case "http", "ws":
		return model.AppHTTP
	case "http2", "h2c":
		return model.AppHTTP2
	case "grpc":
		return model.AppGRPC
	case "https", "tls", "wss", "h2":
		return model.AppTLS
	case "tcp", "mysql", "mongo", "redis", "postgres", "postgresql", "kafka", "hbone":
		return model.AppTCP
	}
	return model.AppUnknown
}

// podPorts are the service's ports at one pod; a port whose name the pod does not have is left out.
func podPorts(s *corev1.Service, p *corev1.Pod) []model.Port {
	var out []model.Port
	for _, sp := range s.Spec.Ports {
		if !isTCP(sp.Protocol) {
			continue
		}
		target := numericTarget(sp)
		if target == 0 {
			target = namedPort(p, sp.TargetPort.StrVal)
		}
		if target != 0 {
			out = append(out, model.Port{ServicePort: uint16(sp.Port), TargetPort: target, App: appProtocol(sp), Name: sp.Name})
		}
	}
	return out
}

func namedPort(p *corev1.Pod, name string) uint16 {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range list {
			for _, cp := range c.Ports {
				if cp.Name == name && isTCP(cp.Protocol) {
					return uint16(cp.ContainerPort)
				}
			}
		}
	}
	return 0
}

// endpoint puts a workload behind a service.
func (c *compiler) endpoint(info *serviceInfo, p *podInfo, ports []model.Port) {
	if len(ports) == 0 {
		return
	}
	if p.workload.Services == nil {
		p.workload.Services = map[string][]model.Port{}
	}
	if _, again := p.workload.Services[info.model.Key()]; again {
		return // its other address
	}
	p.workload.Services[info.model.Key()] = ports
	info.pods = append(info.pods, p)
}
