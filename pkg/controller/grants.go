package controller

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// grants are the references across namespaces that ReferenceGrants allow.
type grants map[grant]bool

// grant allows a kind of a namespace to refer to services of another; service "" is all of them.
type grant struct{ fromKind, fromNamespace, namespace, service string }

func newGrants(list []source.Object[gatewayv1.ReferenceGrant]) grants {
	out := grants{}
	for _, o := range list {
		for _, f := range o.Value.Spec.From {
			for _, t := range o.Value.Spec.To {
				if f.Group != gatewayv1.GroupName && f.Group != api.Group || t.Group != "" && t.Group != "core" || t.Kind != "Service" {
					continue
				}
				name := ""
				if t.Name != nil {
					name = string(*t.Name)
				}
				out[grant{string(f.Kind), string(f.Namespace), o.Value.Namespace, name}] = true
			}
		}
	}
	return out
}

func (g grants) allow(kind, from, namespace, service string) bool {
	return from == namespace || g[grant{kind, from, namespace, ""}] || g[grant{kind, from, namespace, service}]
}
