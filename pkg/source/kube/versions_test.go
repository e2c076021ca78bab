package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// looseCRD defines one of our resources in some version, without a schema: that of a release that knows more.
const looseCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.weft.dev}
spec:
  group: weft.dev
  scope: Namespaced
  names: {plural: %[1]s, kind: %[2]s}
  versions: [{name: %[3]s, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// Resources of other releases: what is not understood is told and fails closed, what was good stays, and the
// rest goes on. The parts run in order on one server.
func TestResourcesOfOtherReleases(t *testing.T) {
	s := kubetest.Start(t)
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}",
		fmt.Sprintf(looseCRD, "faults", "Fault", "v2"), fmt.Sprintf(looseCRD, "authorizationpolicies", "AuthorizationPolicy", "v1alpha1"))
	good := strings.Replace(policyYAML, "CALLER", "web", 1)
	when := strings.Replace(good, "rules: [{", "rules: [{when: [{key: time}], ", 1)
	named := func(name, yaml string) string { return strings.Replace(yaml, "name: cart,", "name: "+name+",", 1) }
	s.Apply(good, named("later", when))
	r := read(t, s, "")
	policy := func(o *source.Objects, caller string) bool {
		return has(o.AuthorizationPolicies, "shop/cart", func(p *api.AuthorizationPolicy) bool {
			return p.Spec.Rules[0].From[0].Source.ServiceAccounts[0] == caller
		})
	}

	t.Run("another version", func(t *testing.T) {
		r.eventually("it is told", func(_ *source.Objects, p []source.Problem) bool {
			return problem(p, "faults.weft.dev", "not installed in version v1alpha1") != nil
		})
	})
	t.Run("a field that we do not know", func(t *testing.T) {
		r.eventually("the policy is handed on with its target alone", func(o *source.Objects, p []source.Problem) bool {
			q := problem(p, "later", `unknown field "when"`)
			return policy(o, "web") && len(o.AuthorizationPolicies) == 1 && len(o.Unread) == 1 && q != nil && q.Path == "spec.rules[0].when" && !q.LastGood &&
				o.Unread[0].AuthorizationPolicy.Spec.Selector.MatchLabels["app"] == "cart"
		})
	})
	t.Run("an edit that we do not understand", func(t *testing.T) {
		s.Apply(when)
		r.eventually("what was good stays", func(o *source.Objects, p []source.Problem) bool {
			q := problem(p, "cart", `unknown field "when"`)
			return policy(o, "web") && len(o.Unread) == 1 && q != nil && q.LastGood
		})
		s.Apply(strings.Replace(policyYAML, "CALLER", "bank", 1))
		r.eventually("a good edit is taken", func(o *source.Objects, p []source.Problem) bool {
			return policy(o, "bank") && problem(p, "cart", "") == nil
		})
	})
	t.Run("another object of the name", func(t *testing.T) {
		s.Delete(good)
		s.Apply(when)
		r.eventually("the good one of before does not stand in for it", func(o *source.Objects, _ []source.Problem) bool {
			return len(o.AuthorizationPolicies) == 0 && len(o.Unread) == 2
		})
	})
	t.Run("the resource goes and comes again", func(t *testing.T) {
		crd := fmt.Sprintf(looseCRD, "authorizationpolicies", "AuthorizationPolicy", "v1alpha1")
		s.Delete(crd)
		r.eventually("it and its objects are gone", func(o *source.Objects, _ []source.Problem) bool {
			return len(o.AuthorizationPolicies)+len(o.Unread) == 0 && s.Get(crd) == nil
		})
		s.InstallCRDs(slices.DeleteFunc(ourCRDs(t), func(f string) bool { return !strings.Contains(f, "authorizationpolicies") })...)
		s.Apply(good)
		r.eventually("it is read again", func(o *source.Objects, _ []source.Problem) bool { return policy(o, "web") })
	})
}

// problem finds one by its object and words.
func problem(all []source.Problem, name, words string) *source.Problem {
	for i, p := range all {
		if p.Name == name && strings.Contains(p.Message, words) {
			return &all[i]
		}
	}
	return nil
}
