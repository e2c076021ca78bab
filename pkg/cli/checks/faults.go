package checks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

var faultResource = schema.GroupVersionResource{Group: api.Group, Version: api.Version, Resource: "faults"}

// faults reads those there are; without the kind there are none.
func (f *Facts) faults(ctx context.Context, c *cluster.Cluster) {
	for _, u := range list(f, "faults", func() ([]unstructured.Unstructured, error) {
		l, err := c.Dynamic.Resource(faultResource).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return nil, err
		}
		return l.Items, nil
	}) {
		fault := &api.Fault{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, fault); err == nil {
			f.Faults = append(f.Faults, fault)
		}
	}
}

// FaultsInForce says of each fault that does harm now, to requests or connections, what it is on and when it ends.
func (f *Facts) FaultsInForce() []string {
	var out []string
	for _, fault := range f.Faults {
		enforced := meta.FindStatusCondition(fault.Status.Conditions, "Enforced")
		if enforced == nil || enforced.Status != metav1.ConditionTrue {
			continue
		}
		var on []string
		for _, t := range fault.Spec.TargetRefs {
			name := t.Kind + " " + t.Name
			if t.SectionName != "" {
				name += " (" + t.SectionName + ")"
			}
			on = append(on, name)
		}
		end := "until it is deleted"
		if at := fault.End(); !at.IsZero() {
			end = fmt.Sprintf("until %s", at.UTC().Format(time.RFC3339))
		}
		out = append(out, fmt.Sprintf("%s/%s on %s, %s", fault.Namespace, fault.Name, strings.Join(on, ", "), end))
	}
	slices.Sort(out)
	return out
}
