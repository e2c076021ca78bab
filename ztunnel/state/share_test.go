package state

import (
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/weftmesh/weft/pkg/model"
)

func TestShare(t *testing.T) {
	pod := func(name, rev string) *model.Workload {
		return &model.Workload{UID: name, Namespace: strings.Clone("shop"), CanonicalRev: rev, Policies: []string{"shop/p"},
			Services: map[string][]model.Port{"shop/cart": {{ServicePort: 80}}}}
	}
	s := New("n1")
	a, b := pod("a", "v1"), pod("b", "v2")
	want := pod("b", "v2")
	s.Share(a) // nobody is there
	s.Apply(Delta{Workloads: []*model.Workload{a}})
	s.Share(b)
	if !reflect.DeepEqual(b, want) {
		t.Errorf("became %+v", b)
	}
	if unsafe.StringData(a.Namespace) != unsafe.StringData(b.Namespace) || unsafe.SliceData(a.Policies) != unsafe.SliceData(b.Policies) ||
		reflect.ValueOf(a.Services).Pointer() != reflect.ValueOf(b.Services).Pointer() {
		t.Error("what both say is kept twice")
	}
	c := pod("c", "v1")
	c.Services["shop/cart"], c.Policies = []model.Port{{ServicePort: 81}}, nil
	s.Share(c)
	if c.Services["shop/cart"][0].ServicePort != 81 || c.Policies != nil {
		t.Errorf("took what it does not say: %+v", c)
	}
}
