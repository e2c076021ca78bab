package checks

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// Faults that do harm now are told, whatever they act on; those that ended, or never came into force, are not.
func TestFaultsInForce(t *testing.T) {
	at := time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC)
	fault := func(name, status string, ref api.TargetRef, change func(*api.Fault)) *api.Fault {
		f := &api.Fault{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Time{Time: at}}}
		f.Spec.TargetRefs = []api.TargetRef{ref}
		if status != "" {
			f.Status.Conditions = []metav1.Condition{{Type: "Accepted", Status: "True"}, {Type: "Enforced", Status: metav1.ConditionStatus(status)}}
		}
		if change != nil {
			change(f)
		}
		return f
	}
	cart := api.TargetRef{Kind: "Service", Name: "cart"}
	f := &Facts{Faults: []*api.Fault{
		fault("slow", "True", cart, nil),
		fault("cut", "True", api.TargetRef{Kind: "HTTPRoute", Name: "r", SectionName: "one"}, func(f *api.Fault) { f.Spec.TTL = "30m" }),
		fault("ends", "True", cart, func(f *api.Fault) { f.Spec.Expires = &metav1.Time{Time: at.Add(time.Hour)} }),
		fault("over", "False", cart, nil),
		fault("new", "", cart, nil),
	}}
	want := []string{
		"shop/cut on HTTPRoute r (one), until 2026-01-31T18:30:00Z",
		"shop/ends on Service cart, until 2026-01-31T19:00:00Z",
		"shop/slow on Service cart, until it is deleted",
	}
	if got := f.FaultsInForce(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
