package checks

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// needed are the rights that an install takes.
var needed = []authorizationv1.ResourceAttributes{
	{Verb: "create", Resource: "namespaces"},
	{Verb: "create", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
	{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
	{Verb: "create", Group: "gateway.networking.k8s.io", Resource: "gatewayclasses"},
	{Verb: "create", Resource: "secrets", Namespace: api.SystemNamespace},
	{Verb: "create", Resource: "configmaps", Namespace: api.SystemNamespace},
	{Verb: "create", Resource: "services", Namespace: api.SystemNamespace},
	{Verb: "create", Resource: "serviceaccounts", Namespace: api.SystemNamespace},
	{Verb: "create", Group: "apps", Resource: "deployments", Namespace: api.SystemNamespace},
	{Verb: "create", Group: "apps", Resource: "daemonsets", Namespace: api.SystemNamespace},
	{Verb: "create", Group: "policy", Resource: "poddisruptionbudgets", Namespace: api.SystemNamespace},
}

// rights asks the API server for each.
func (f *Facts) rights(ctx context.Context, c *cluster.Cluster) {
	for _, r := range needed {
		review, err := c.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r},
		}, metav1.CreateOptions{})
		if err != nil {
			f.Errors["rights"] = err
			return
		}
		if !review.Status.Allowed {
			f.Denied = append(f.Denied, fmt.Sprintf("%s %s", r.Verb, r.Resource))
		}
	}
}

func rights(f *Facts) []Result {
	const name = "you may install"
	switch {
	case f.Errors["rights"] != nil:
		return []Result{unknown(name, f.Errors["rights"])}
	case len(f.Denied) > 0:
		return []Result{fail(name, "not permitted: "+strings.Join(f.Denied, ", "), "ask an administrator of the cluster, or use another user (--as, --user, --context)")}
	}
	return []Result{ok(name, "")}
}
