package controller

import (
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// lintRequests finds policies on requests at ports that have none.
func (c *compiler) lintRequests() {
	for _, o := range c.objs.RateLimits {
		c.lintRequestsOf(policyObject{o.Value, "RateLimit", o.Origin, o.Value.Spec.TargetRefs}, "counts nothing")
	}
	for _, o := range c.objs.Extensions {
		c.lintRequestsOf(policyObject{o.Value, "Extension", o.Origin, o.Value.Spec.TargetRefs}, "sees nothing")
	}
	for _, o := range c.objs.RequestAuthentications {
		effect := "verifies nothing"
		if o.Value.Spec.Required {
			effect = "refuses everybody"
		}
		c.lintRequestsOf(policyObject{o.Value, "RequestAuthentication", o.Origin, o.Value.Spec.TargetRefs}, effect)
	}
	for _, o := range c.objs.Faults {
		if requests, connections := faultTargets(o.Value); requests && !connections {
			c.lintRequestsOf(policyObject{o.Value, "Fault", o.Origin, o.Value.Spec.TargetRefs}, "does nothing")
		}
	}
}

func (c *compiler) lintRequestsOf(p policyObject, effect string) {
	for i, ref := range p.refs {
		info := c.services[p.GetNamespace()+"/"+ref.Name]
		if ref.Kind != "Service" || info == nil || info.waypoint() == nil || c.hasRequests(info, ref) {
			continue
		}
		c.status(p.kind, p, p.at).warn(fmt.Sprintf("spec.targetRefs[%d]", i), "it is about requests, and "+portsText(ref)+" is plain TCP by name or appProtocol: it "+effect+" there",
			"name the port http, http2 or grpc if it is one, or target another")
	}
}

// hasRequests reports whether a waypoint reads requests at some of the ports that a reference means.
func (c *compiler) hasRequests(info *serviceInfo, ref api.TargetRef) bool {
	for _, port := range info.object.Spec.Ports {
		if ref.SectionName != "" && port.Name != ref.SectionName || !isTCP(port.Protocol) {
			continue
		}
		p, ok := info.model.Port(uint16(port.Port))
		if ok && p.App != model.AppTCP && p.App != model.AppTLS {
			return true
		}
	}
	return false
}

func portsText(ref api.TargetRef) string {
	if ref.SectionName != "" {
		return "port " + ref.SectionName + " of Service " + ref.Name
	}
	return "every port of Service " + ref.Name
}
