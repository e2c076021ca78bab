package policy

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// A waypoint calls workloads under its own name, so what their policies say of callers can only be judged
// at the waypoint, before it picks one of them. This file says which policies those are; how they are put
// in force is the waypoint's affair, and decision record 006 tells the whole story.

// Layer is the policies of workloads that are equal before a waypoint: bound by the same ones, called at
// the same port. A call passes when every Layer of its destination lets it: a DENY policy that matches
// refuses; where there are ALLOW policies one of them must match.
type Layer struct {
	// Port of the workloads. 0: not known, each has its own or there is none yet.
	Port uint16
	// Policies that bind them, by key.
	Policies []*model.L7Policy
}

// Layers lists the layers of a port of a service: workloads are the service's, healthy or not. Layers
// without policies are left out.
func Layers(snap *model.Snapshot, service string, port uint16, workloads []*model.Workload) []Layer {
	seen := layerSet{}
	there := false
	for _, w := range workloads {
		for _, p := range w.Services[service] {
			if p.ServicePort == port {
				there = true
				seen.add(snap, w.UID, p.TargetPort)
			}
		}
	}
	if s := snap.Services[service]; s != nil && !there {
		if p, ok := s.Port(port); ok {
			seen.add(snap, service, p.TargetPort)
		}
	}
	return seen.list
}

// WorkloadLayer is the layer of one workload's port. ok is false where no policy binds it.
func WorkloadLayer(snap *model.Snapshot, uid string, port uint16) (l Layer, ok bool) {
	seen := layerSet{}
	seen.add(snap, uid, port)
	if len(seen.list) == 0 {
		return Layer{Port: port}, false
	}
	return seen.list[0], true
}

type layerSet struct {
	keys []layerKey
	list []Layer
}

type layerKey struct {
	port     uint16
	policies string
}

func (s *layerSet) add(snap *model.Snapshot, binding string, port uint16) {
	keys := snap.Bindings.Get(binding)
	k := layerKey{port, strings.Join(keys, " ")}
	if len(keys) == 0 || slices.Contains(s.keys, k) {
		return
	}
	l := Layer{Port: port}
	for _, key := range keys {
		p := snap.L7Policies[key]
		if p == nil { // nobody knows what it says, so nothing passes
			p = &model.L7Policy{Name: key, Action: model.Deny, Workloads: true, Rules: []model.L7Rule{{}}}
		}
		l.Policies = append(l.Policies, p)
	}
	s.keys, s.list = append(s.keys, k), append(s.list, l)
}

// Names reports whether the match spells out the identity. A match that names a waypoint is about whoever
// calls through it, and is judged with the waypoint for the caller; every other match is judged with the
// original caller.
func Names(m *model.Match, id identity.Identity) bool {
	principal := model.StringMatch{Kind: model.Exact, Value: id.Principal()}
	account := model.ServiceAccountMatch{Namespace: id.Namespace, ServiceAccount: id.ServiceAccount}
	return slices.Contains(m.Principals, principal) || slices.Contains(m.NotPrincipals, principal) ||
		slices.Contains(m.ServiceAccounts, account) || slices.Contains(m.NotServiceAccounts, account)
}

// MatchesCaller reports whether a match holds for an identity, its addresses and ports aside.
func MatchesCaller(m *model.Match, id identity.Identity) bool {
	bare := model.Match{
		Namespaces: m.Namespaces, NotNamespaces: m.NotNamespaces, ServiceAccounts: m.ServiceAccounts,
		NotServiceAccounts: m.NotServiceAccounts, Principals: m.Principals, NotPrincipals: m.NotPrincipals,
	}
	c, err := compileMatch(&bare)
	if err != nil {
		return false
	}
	var room [principalRoom]byte
	s := newSubject(Conn{Source: id}, true, room[:0])
	return c.match(&s)
}
