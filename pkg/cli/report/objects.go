package report

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// kinds that the mesh reads, or that explain it. No Secrets; of ConfigMaps only the named ones.
var kinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "namespaces"}, {Version: "v1", Resource: "nodes"}, {Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "events"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}, {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"}, {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gatewayclasses"}, {Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}, {Group: "gateway.networking.k8s.io", Version: "v1", Resource: "grpcroutes"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "tcproutes"}, {Group: "gateway.networking.k8s.io", Version: "v1", Resource: "tlsroutes"},
	{Group: api.Group, Version: api.Version, Resource: "authorizationpolicies"}, {Group: api.Group, Version: api.Version, Resource: "peerauthentications"},
	{Group: api.Group, Version: api.Version, Resource: "faults"},
}

// onlyOurs are kinds whose objects of others say nothing about the mesh.
var onlyOurs = map[string]bool{"deployments": true, "daemonsets": true, "leases": true}

// objects writes one file per kind.
func (r *reporter) objects(ctx context.Context) {
	for _, kind := range kinds {
		name := "objects/" + kind.Resource
		l, err := r.o.Cluster.Dynamic.Resource(kind).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			r.a.failed(name, err)
			continue
		}
		var text strings.Builder
		for _, u := range l.Items {
			if onlyOurs[kind.Resource] && u.GetNamespace() != api.SystemNamespace {
				continue
			}
			data, err := yaml.Marshal(trim(u).Object)
			if err != nil {
				r.a.failed(name, err)
				continue
			}
			text.WriteString("---\n")
			text.Write(data)
		}
		r.a.add(name+".yaml", []byte(text.String()))
	}
	r.configMap(ctx, api.SystemNamespace, "weft-root")
	for _, key := range []string{"kube-system/cilium-config", "kube-flannel/kube-flannel-cfg"} {
		namespace, name, _ := strings.Cut(key, "/")
		r.configMap(ctx, namespace, name)
	}
}

func (r *reporter) configMap(ctx context.Context, namespace, name string) {
	m, err := r.o.Cluster.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return // most clusters have not all of them
	}
	m.ManagedFields = nil
	r.a.add("objects/configmap-"+namespace+"-"+name+".yaml", []byte(cluster.YAML(m)))
}

// trim takes out what people put secrets into, and what only fills pages.
func trim(u unstructured.Unstructured) unstructured.Unstructured {
	u.SetManagedFields(nil)
	annotations := map[string]string{}
	for k, v := range u.GetAnnotations() {
		if strings.HasPrefix(k, api.Group+"/") || strings.HasPrefix(k, "gateway.networking.k8s.io/") {
			annotations[k] = v
		}
	}
	u.SetAnnotations(annotations)
	if len(annotations) == 0 {
		unstructured.RemoveNestedField(u.Object, "metadata", "annotations")
	}
	if u.GetNamespace() == api.SystemNamespace {
		return u
	}
	switch u.GetKind() {
	case "Pod":
		trimPod(u)
	case "Event":
		unstructured.RemoveNestedField(u.Object, "source")
	case "ServiceAccount":
		unstructured.RemoveNestedField(u.Object, "secrets")
	}
	return u
}

// podFields of a foreign pod are kept, and of its containers containerFields.
var (
	podFields       = []string{"nodeName", "serviceAccountName", "hostNetwork", "hostPID", "dnsPolicy", "restartPolicy", "tolerations", "priorityClassName", "readinessGates"}
	containerFields = []string{"name", "image", "ports", "resources", "securityContext", "restartPolicy"}
)

func trimPod(u unstructured.Unstructured) {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	kept := keep(spec, podFields)
	for _, list := range []string{"containers", "initContainers"} {
		all, ok := spec[list].([]any)
		if !ok {
			continue
		}
		containers := make([]any, 0, len(all))
		for _, c := range all {
			m, ok := c.(map[string]any)
			if !ok {
				continue
			}
			container := keep(m, containerFields)
			for _, probe := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
				if p, ok := m[probe].(map[string]any); ok {
					container[probe] = trimProbe(p)
				}
			}
			containers = append(containers, container)
		}
		kept[list] = containers
	}
	u.Object["spec"] = kept
}

// trimProbe keeps how a probe comes, not what it says: headers and commands may hold passwords.
func trimProbe(p map[string]any) map[string]any {
	for _, kind := range []string{"httpGet", "tcpSocket", "grpc", "exec"} {
		if probe, ok := p[kind].(map[string]any); ok {
			return map[string]any{kind: keep(probe, []string{"port", "path", "scheme", "service"})}
		}
	}
	return map[string]any{}
}

func keep(m map[string]any, fields []string) map[string]any {
	out := map[string]any{}
	for _, f := range fields {
		if v, ok := m[f]; ok {
			out[f] = v
		}
	}
	return out
}
