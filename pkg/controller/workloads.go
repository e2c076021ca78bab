package controller

import (
	"cmp"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// compileWorkloads makes a workload of each pod that has not ended; without an address it is pending.
func (c *compiler) compileWorkloads() {
	c.pods = newPodIndex()
	for _, o := range c.objs.Pods {
		p := o.Value
		if ended(p) {
			continue
		}
		w := c.workload(p)
		if len(w.Addresses) == 0 {
			if w.Node != "" {
				c.snap.Pending.Set(w.UID, w)
			}
			continue
		}
		info := &podInfo{object: p, workload: w}
		if use := c.waypointUse(p.Labels, p.Namespace, "workload"); use != nil && !w.NativeTunnel {
			w.Waypoint, info.waypoint = use.gateway, use.waypoint
		}
		c.snap.Workloads.Set(w.UID, w)
		c.pods.add(info)
	}
}

func (c *compiler) workload(p *corev1.Pod) *model.Workload {
	w := &model.Workload{
		UID:  c.uid(p),
		Name: p.Name, Namespace: p.Namespace, ServiceAccount: cmp.Or(p.Spec.ServiceAccountName, "default"),
		TrustDomain: c.cfg.TrustDomain, Addresses: podAddresses(p), Network: c.cfg.Network,
		Node: p.Spec.NodeName, Cluster: c.cfg.Cluster, Locality: c.locality(p.Spec.NodeName),
		Unhealthy: !ready(p), HostNetwork: p.Spec.HostNetwork,
	}
	w.OwnerKind, w.OwnerName = owner(p)
	w.CanonicalName = cmp.Or(p.Labels["app.kubernetes.io/name"], p.Labels["app"], w.OwnerName)
	w.CanonicalRev = cmp.Or(p.Labels["app.kubernetes.io/version"], p.Labels["version"], "latest")
	if gw := c.gateways[p.Namespace+"/"+p.Labels[api.LabelGatewayName]]; gw != nil && !p.Spec.HostNetwork {
		w.Protocol, w.NativeTunnel = model.HBONE, true
	} else if c.ambient(p) && c.announced(p) {
		w.Protocol = model.HBONE
	}
	return w
}

// uid is of the pod's workload.
func (c *compiler) uid(p *corev1.Pod) string {
	return c.cfg.Cluster + "//Pod/" + p.Namespace + "/" + p.Name
}

// announced reports whether the pod's traffic is captured, as its node's agent says: in the pod's
// annotation, or in its own file.
func (c *compiler) announced(p *corev1.Pod) bool {
	if p.Annotations[api.AnnotationRedirection] == api.RedirectionEnabled {
		return true
	}
	a := c.objs.Announcements[p.Namespace+"/"+p.Name]
	return a.Redirection == api.RedirectionEnabled && (a.UID == "" || p.UID == "" || a.UID == string(p.UID))
}

func podAddresses(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil {
			a = a.Unmap()
			for _, have := range out {
				if have == a {
					return
				}
			}
			out = append(out, a)
		}
	}
	for _, ip := range p.Status.PodIPs {
		add(ip.IP)
	}
	add(p.Status.PodIP)
	return out
}

// ready reports whether a pod takes traffic; one that is going does not.
func ready(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *compiler) locality(node string) model.Locality {
	n := c.nodes[node]
	if n == nil {
		return model.Locality{}
	}
	return model.Locality{
		Region: cmp.Or(n.Labels[corev1.LabelTopologyRegion], n.Labels[corev1.LabelFailureDomainBetaRegion]),
		Zone:   cmp.Or(n.Labels[corev1.LabelTopologyZone], n.Labels[corev1.LabelFailureDomainBetaZone]),
	}
}

// owner is what a person calls the pod's origin: the Deployment rather than its ReplicaSet, the CronJob
// rather than its Job.
func owner(p *corev1.Pod) (kind, name string) {
	ref := metav1.GetControllerOf(p)
	if ref == nil {
		return "pod", p.Name
	}
	switch ref.Kind {
	case "ReplicaSet":
		if hash := p.Labels["pod-template-hash"]; hash != "" && strings.HasSuffix(ref.Name, "-"+hash) {
			return "deployment", strings.TrimSuffix(ref.Name, "-"+hash)
		}
		return "pod", ref.Name
	case "Job":
		// A CronJob names its Jobs after itself and the minute.
		if i := strings.LastIndexByte(ref.Name, '-'); i > 0 && len(ref.Name)-i-1 >= 8 && strings.Trim(ref.Name[i+1:], "0123456789") == "" {
			return "cronjob", ref.Name[:i]
		}
		return "job", ref.Name
	case "Deployment":
		return "deployment", ref.Name
	}
	return "pod", ref.Name
}
