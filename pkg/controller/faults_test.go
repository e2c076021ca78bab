package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

func expiring(name string, at time.Time) source.Object[api.Fault] {
	f := &api.Fault{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
	if !at.IsZero() {
		f.Spec.Expires = &metav1.Time{Time: at}
	}
	return source.Object[api.Fault]{Value: f}
}

// A fault is over at its expiry, not before, and says so; the next expiry is the one to wait for.
func TestFaultsExpire(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	objs := &source.Objects{Faults: []source.Object[api.Fault]{
		expiring("forever", time.Time{}), expiring("later", now.Add(time.Hour)), expiring("soon", now.Add(time.Minute)), expiring("over", now),
	}}
	if next := NextExpiry(objs, now); !next.Equal(now.Add(time.Minute)) {
		t.Errorf("the next expiry is %v", next)
	}
	if next := NextExpiry(objs, now.Add(time.Hour)); !next.IsZero() {
		t.Errorf("after all there is %v", next)
	}
	for at, want := range map[time.Time]int{{}: 0, now.Add(-time.Second): 0, now: 1, now.Add(time.Minute): 2, now.Add(time.Hour): 3} {
		_, statuses := Compile(objs, Config{Now: at})
		over := 0
		for _, s := range statuses {
			for _, c := range s.Conditions {
				if c.Type == conditionEnforced && c.Reason == reasonExpired {
					over++
				}
			}
		}
		if over != want {
			t.Errorf("at %v %d are over, want %d", at, over, want)
		}
	}
}
