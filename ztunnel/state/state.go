// Package state is what a ztunnel knows of the mesh, and its decisions on it.
//
// The xDS client applies deltas; handlers look up and decide; what is new wakes whoever waits for it:
// pods that the controller does not know yet, and the revision that cuts connections which a change
// forbids. Nothing is decided before the first full configuration: see Synced.
package state

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/ztunnel/balance"
)

// Delta is one change of the mesh.
type Delta struct {
	Workloads        []*model.Workload
	Services         []*model.Service
	Policies         []*model.Policy
	Ranges           []*model.Range
	RemovedAddresses []string // workload UIDs and service keys
	RemovedPolicies  []string // policy keys
	RemovedRanges    []netip.Prefix
}

// State of one ztunnel. Lookups are those of the index.
type State struct {
	*index.Index
	node   string
	synced atomic.Bool
	gone   gone
	// Balancer chooses endpoints, by what connections of this node have met.
	*balance.Balancer

	mu      sync.RWMutex
	local   map[string]*model.Workload // pods of this node by "namespace/name"
	sets    map[string]compiled        // policies of local pods by UID, cleared when any policy changes
	changed chan struct{}              // closed and replaced at every change
}

// compiled are the policies of one pod, ready to decide.
type compiled struct {
	workload *model.Workload // the version that they were compiled for
	set      *policy.Set
	missing  string // a listed policy that has not arrived: everything is refused
}

// New makes an empty state for the ztunnel of node.
func New(node string) *State {
	return &State{Index: index.New(), Balancer: balance.New(nil), node: node, gone: newGone(), local: map[string]*model.Workload{}, sets: map[string]compiled{}, changed: make(chan struct{})}
}

// Synced reports that the first full configuration has arrived.
func (s *State) Synced() bool { return s.synced.Load() }

// SetSynced says that it has.
func (s *State) SetSynced() {
	s.synced.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce()
}

// Apply puts a change into the state. Connections are decided anew by whoever watches Changed.
func (s *State) Apply(d Delta) {
	for _, key := range d.RemovedAddresses {
		if w := s.ByUID(key); w != nil && w.Protocol == model.HBONE {
			s.gone.note("pod "+w.Namespace+"/"+w.Name, w.Addresses)
		} else if v := s.ServiceByKey(key); v != nil {
			s.gone.note("service "+v.Hostname, v.Addresses)
		}
		s.RemoveAddress(key)
		s.Left(key)
	}
	for _, w := range d.Workloads {
		s.welcome(w)
		s.UpsertWorkload(w)
	}
	for _, v := range d.Services {
		s.UpsertService(v)
	}
	for _, key := range d.RemovedPolicies {
		s.RemovePolicy(key)
	}
	for _, p := range d.Policies {
		s.UpsertPolicy(p)
	}
	for _, p := range d.RemovedRanges {
		s.RemoveRange(p)
	}
	for _, r := range d.Ranges {
		s.UpsertRange(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyLocal(d)
	if len(d.Policies)+len(d.RemovedPolicies) > 0 {
		clear(s.sets)
	}
	s.announce()
}

// welcome notes that an endpoint has come, or is healthy again, where a service starts slowly. Of those that were
// there when this ztunnel started it is not known.
func (s *State) welcome(w *model.Workload) {
	if w.Unhealthy || !s.Synced() {
		return
	}
	if old := s.ByUID(w.UID); old != nil && !old.Unhealthy {
		return
	}
	for key := range w.Services {
		if v := s.ServiceByKey(key); v != nil && len(v.Carriage) > 0 {
			s.Came(w)
			return
		}
	}
}

// applyLocal keeps the pods of this node findable by name. s.mu is held.
func (s *State) applyLocal(d Delta) {
	for _, uid := range d.RemovedAddresses {
		delete(s.sets, uid)
		for name, w := range s.local {
			if w.UID == uid {
				delete(s.local, name)
			}
		}
	}
	for _, w := range d.Workloads {
		name := w.Namespace + "/" + w.Name
		if w.Node == s.node || w.Node == "" || s.node == "" {
			s.local[name] = w
		} else if old := s.local[name]; old != nil && old.UID == w.UID {
			delete(s.local, name)
			delete(s.sets, w.UID)
		}
	}
}

func (s *State) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (s *State) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Pod finds a pod of this node by name, nil when the controller does not know it.
func (s *State) Pod(namespace, name string) *model.Workload {
	return s.PodByKey(namespace + "/" + name)
}

// PodByKey does so by "namespace/name".
func (s *State) PodByKey(key string) *model.Workload {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.local[key]
}

// WaitPod waits up to limit for a pod to become known: enrolment and the controller race.
func (s *State) WaitPod(ctx context.Context, namespace, name string, limit time.Duration) *model.Workload {
	if w := s.Pod(namespace, name); w != nil {
		return w
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		changed := s.Changed()
		if w := s.Pod(namespace, name); w != nil {
			return w
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Decide is the verdict on a connection to w, a pod of this node.
func (s *State) Decide(w *model.Workload, c policy.Conn) policy.Verdict {
	p := s.policies(w)
	if p.missing != "" {
		return policy.Verdict{Policy: p.missing, Reason: "policy " + p.missing + " not received yet"}
	}
	return p.set.Decide(c)
}

// PlainlyAllowed reports that a connection to w, a pod of this node, is allowed by L4 policy that is known and
// leaves nothing else to be done about it.
func (s *State) PlainlyAllowed(w *model.Workload, c policy.Conn) bool {
	p := s.policies(w)
	return s.Synced() && p.missing == "" && p.set.Plain() && p.set.Decide(c).Allowed
}

func (s *State) policies(w *model.Workload) compiled {
	s.mu.RLock()
	c, ok := s.sets[w.UID]
	s.mu.RUnlock()
	if ok && c.workload == w {
		return c
	}
	// Under the lock, so that a set compiled from old policies is never kept past the change of them.
	s.mu.Lock()
	defer s.mu.Unlock()
	list, missing := s.PoliciesFor(w)
	c = compiled{workload: w, set: policy.Compile(list)}
	if len(missing) > 0 {
		c.missing = missing[0]
	}
	if s.local[w.Namespace+"/"+w.Name] == w {
		s.sets[w.UID] = c
	}
	return c
}
