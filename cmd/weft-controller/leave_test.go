package main

import (
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
)

// What was in force for a service stays in force at the waypoint that it leaves, for as long as that serves it, and
// its workloads let that waypoint in for as long.
func TestPoliciesStayWhileAServiceLeaves(t *testing.T) {
	way := &model.Waypoint{Namespace: "shop", Name: "way", Hostname: "way.shop"}
	gateway := &model.Gateway{Namespace: "shop", Hostname: "way.shop"}
	admission := &model.Policy{Namespace: "shop", Name: "waypoint_way"}
	if admission.Key() != controller.AdmissionKey(way) {
		t.Fatalf("workloads let waypoints in by %s", controller.AdmissionKey(way))
	}
	snapshot := func(bound *model.Gateway) (*model.Snapshot, *model.Service, *model.Workload) {
		s := model.NewSnapshot()
		s.Waypoints[way.Key()] = way
		cart := &model.Service{Namespace: "shop", Name: "cart", Hostname: "cart", Waypoint: bound}
		pod := &model.Workload{UID: "cart-1", Namespace: "shop", Services: map[string][]model.Port{cart.Key(): nil}}
		s.Services[cart.Key()] = cart
		s.Workloads.Set(pod.UID, pod)
		return s, cart, pod
	}
	told, cart, pod := snapshot(gateway)
	told.L7Policies["service"] = &model.L7Policy{Namespace: "shop", Name: "p", Action: model.Deny, Service: cart.Key()}
	told.L7Policies["workload"] = &model.L7Policy{Namespace: "shop", Name: "q", Workloads: true}
	told.Bindings.Set(pod.UID, []string{"workload"})
	told.Policies[admission.Key()], pod.Policies = admission, []string{admission.Key()}

	want, _, _ := snapshot(nil)
	u := &publisher{want: want, told: told, wait: time.Second, leave: map[departed]*departure{}}
	u.depart(cart.Key(), gateway, time.Now())
	for _, draining := range []bool{false, true} {
		for _, d := range u.leave {
			d.draining = draining
		}
		got := u.forEnvoys(way.Key())
		if s := got.Services[cart.Key()]; s.Waypoint != gateway || s.Draining != draining {
			t.Errorf("draining %v: the waypoint has %+v", draining, s)
		}
		if got.L7Policies["service"] == nil || got.L7Policies["workload"] == nil || !slices.Equal(got.Bindings.Get(pod.UID), []string{"workload"}) {
			t.Errorf("draining %v: policies %v, bindings %v", draining, got.L7Policies, got.Bindings)
		}
		let := u.admitting(want)
		if !slices.Contains(let.Workloads.Get(pod.UID).Policies, admission.Key()) || let.Policies[admission.Key()] == nil {
			t.Errorf("draining %v: the workload refuses the waypoint", draining)
		}
	}
	if len(want.L7Policies)+len(want.Policies)+len(want.Workloads.Get(pod.UID).Policies) > 0 || want.Services[cart.Key()].Waypoint != nil {
		t.Error("the snapshot itself was changed")
	}
	u.forget(told) // it is back
	if len(u.leave) > 0 {
		t.Error("a service that is back still leaves")
	}
}
