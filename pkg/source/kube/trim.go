package kube

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/pkg/api"
)

// trimMeta keeps of an object's metadata what somebody reads: with the resource version that changes at
// every heartbeat it would never be the same twice.
func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, Generation: m.Generation, CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels,
	}
	for k, v := range m.Annotations {
		if strings.HasPrefix(k, api.Group+"/") || k == corev1.MirrorPodAnnotationKey {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = v
		}
	}
	return out
}

func trimNamespace(o metav1.Object) metav1.Object {
	n := o.(*corev1.Namespace)
	return &corev1.Namespace{ObjectMeta: trimMeta(n.ObjectMeta)}
}

// trimNode keeps labels, taints and the addresses of its pods.
func trimNode(o metav1.Object) metav1.Object {
	n := o.(*corev1.Node)
	return &corev1.Node{ObjectMeta: trimMeta(n.ObjectMeta), Spec: corev1.NodeSpec{Taints: n.Spec.Taints, PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs}}
}

func trimService(o metav1.Object) metav1.Object {
	s := o.(*corev1.Service)
	out := &corev1.Service{ObjectMeta: trimMeta(s.ObjectMeta), Spec: s.Spec}
	for _, c := range s.Status.Conditions {
		if strings.HasPrefix(c.Type, api.Group+"/") {
			out.Status.Conditions = append(out.Status.Conditions, c)
		}
	}
	return out
}

func trimConfigMap(o metav1.Object) metav1.Object {
	c := o.(*corev1.ConfigMap)
	return &corev1.ConfigMap{ObjectMeta: trimMeta(c.ObjectMeta), Data: c.Data, BinaryData: c.BinaryData}
}

func trimSlice(o metav1.Object) metav1.Object {
	s := o.(*discoveryv1.EndpointSlice)
	return &discoveryv1.EndpointSlice{ObjectMeta: trimMeta(s.ObjectMeta), AddressType: s.AddressType, Endpoints: s.Endpoints, Ports: s.Ports}
}

// trimPod keeps who a pod is, where it runs, its addresses, whether it is ready, and the names of its ports.
func trimPod(o metav1.Object) metav1.Object {
	p := o.(*corev1.Pod)
	out := &corev1.Pod{ObjectMeta: trimMeta(p.ObjectMeta), Spec: corev1.PodSpec{
		NodeName: p.Spec.NodeName, ServiceAccountName: p.Spec.ServiceAccountName, HostNetwork: p.Spec.HostNetwork,
	}, Status: corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs}}
	if ref := metav1.GetControllerOf(p); ref != nil {
		out.OwnerReferences = []metav1.OwnerReference{*ref}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	out.Spec.Containers = named(p.Spec.Containers)
	out.Spec.InitContainers = named(p.Spec.InitContainers)
	return out
}

// trimOwnPod also keeps what the agent of the pod's node wants to know: which ports kubelet probes, and who else
// captures the pod's traffic.
func trimOwnPod(o metav1.Object) metav1.Object {
	p := o.(*corev1.Pod)
	out := trimPod(o).(*corev1.Pod)
	out.Spec.Containers, out.Spec.InitContainers = probed(p.Spec.Containers), probed(p.Spec.InitContainers)
	for k, v := range p.Annotations {
		if !othersAnnotation(k) {
			continue
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[k] = v
	}
	return out
}

// othersAnnotation picks kubelet's mark of a static pod, and those of other meshes.
func othersAnnotation(key string) bool {
	if key == corev1.MirrorPodAnnotationKey {
		return true
	}
	for _, prefix := range []string{"sidecar.istio.io/", "ambient.istio.io/", "linkerd.io/", "kuma.io/", "consul.hashicorp.com/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// probed keeps of containers their names, ports and what kubelet does to them.
func probed(containers []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(containers))
	for i, c := range containers {
		out[i] = corev1.Container{Name: c.Name, Ports: c.Ports, Lifecycle: c.Lifecycle,
			StartupProbe: c.StartupProbe, ReadinessProbe: c.ReadinessProbe, LivenessProbe: c.LivenessProbe}
	}
	return out
}

// named keeps the ports that a Service may name, in one container, which is large.
func named(containers []corev1.Container) []corev1.Container {
	var ports []corev1.ContainerPort
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
			}
		}
	}
	if len(ports) == 0 {
		return nil
	}
	return []corev1.Container{{Ports: ports}}
}

// trimCustom drops from an object of a resource what only the API server and kubectl use.
func trimCustom(o metav1.Object) metav1.Object {
	u := o.(*unstructured.Unstructured)
	content := maps.Clone(u.Object)
	if m, ok := content["metadata"].(map[string]any); ok {
		m = maps.Clone(m)
		for _, field := range []string{"managedFields", "resourceVersion", "selfLink"} {
			delete(m, field)
		}
		if notes, ok := m["annotations"].(map[string]any); ok {
			notes = maps.Clone(notes)
			delete(notes, "kubectl.kubernetes.io/last-applied-configuration")
			m["annotations"] = notes
		}
		content["metadata"] = m
	}
	return &unstructured.Unstructured{Object: content}
}
