package controller

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// withImaginedPods returns the objects with a ready, captured pod for each Deployment that has none, and
// an address for each Service, as a cluster would have them. The argument is not changed.
func withImaginedPods(objs *source.Objects) *source.Objects {
	out := *objs
	out.Pods = append([]source.Object[corev1.Pod](nil), objs.Pods...)
	out.Services = nil
	next := netip.MustParseAddr("192.0.2.1") // of a network for documentation
	addr := func() string {
		next = next.Next()
		return next.String()
	}
	for _, d := range objs.Deployments {
		tmpl := d.Value.Spec.Template
		if r := d.Value.Spec.Replicas; r != nil && *r == 0 || hasPod(objs, d.Value.Namespace, tmpl.Labels) {
			continue
		}
		p := &corev1.Pod{ObjectMeta: *tmpl.ObjectMeta.DeepCopy(), Spec: *tmpl.Spec.DeepCopy()}
		p.Name, p.Namespace = d.Value.Name, d.Value.Namespace
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[api.AnnotationRedirection] = api.RedirectionEnabled
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: addr()}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		out.Pods = append(out.Pods, source.Object[corev1.Pod]{Origin: d.Origin, Value: p})
	}
	for _, s := range objs.Services {
		if s.Value.Spec.ClusterIP == "" {
			v := s.Value.DeepCopy()
			v.Spec.ClusterIP = addr()
			s.Value = v
		}
		out.Services = append(out.Services, s)
	}
	return &out
}

func hasPod(objs *source.Objects, ns string, labels map[string]string) bool {
	for _, p := range objs.Pods {
		if p.Value.Namespace == ns && carries(p.Value.Labels, labels) {
			return true
		}
	}
	return false
}

// lint notes what compiles and still cannot be meant.
func (c *compiler) lint() {
	c.lintServices()
	c.lintLabels()
	c.lintRoutes()
	c.lintPolicies()
	c.lintAsked()
	c.lintKeys()
	c.lintRequests()
	c.lintTelemetry()
	c.lintLimits()
	c.lintUnused()
	c.lintExtensions()
}

func (c *compiler) lintServices() {
	for _, o := range c.objs.Services {
		info := c.services[o.Value.Namespace+"/"+o.Value.Name]
		if info == nil || len(o.Value.Spec.Selector) == 0 || o.Value.Labels[api.LabelGatewayName] != "" {
			continue
		}
		st := c.status("Service", o.Value, o.Origin)
		pods := c.pods.matching(o.Value.Namespace, o.Value.Spec.Selector)
		if len(pods) == 0 {
			st.warn("spec.selector", "the selector takes no pod and no Deployment of the namespace: the service has no endpoints", "compare it with the labels of the pods' template")
			continue
		}
		for i, sp := range o.Value.Spec.Ports {
			if sp.TargetPort.StrVal == "" || !isTCP(sp.Protocol) {
				continue
			}
			found := false
			for _, p := range pods {
				found = found || namedPort(p.object, sp.TargetPort.StrVal) != 0
			}
			if !found {
				st.warn(fmt.Sprintf("spec.ports[%d].targetPort", i), fmt.Sprintf("no container of its pods has a port of the name %q: the port has no endpoints", sp.TargetPort.StrVal), "name the container's port, or write its number")
			}
		}
	}
}
