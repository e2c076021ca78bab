package inpod

import (
	"errors"
	"fmt"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/tunnel"
)

// PodState is what a pod's proxy gives to that of another process. It holds keys.
type PodState struct {
	UID      string
	Identity string
	Tunnel   tunnel.State
}

// Hold keeps the pods as they are, so that none comes or goes, until release is called. It comes before shards are
// frozen: who removes a pod waits for its connections, which could not end. What follows is for its caller.
func (m *Manager) Hold() (release func()) {
	m.mu.Lock()
	return m.mu.Unlock
}

// Staying counts tunnel connections that Export would leave here, most of them for a moment only. m is held.
func (m *Manager) Staying(f *hbone.Frozen) (n int) {
	for _, p := range m.pods {
		n += p.tunnel.Staying(f)
	}
	return n
}

// Export describes what the pods' tunnels carry and can move, and its descriptors, which stay here. m is held.
func (m *Manager) Export(f *hbone.Frozen) (pods []PodState, fds []int, stay int) {
	for uid, p := range m.pods {
		st, all, n := p.tunnel.Export(f, fds)
		fds, stay = all, stay+n
		if len(st.Out)+len(st.In) > 0 {
			pods = append(pods, PodState{UID: uid, Identity: p.pod.Identity.String(), Tunnel: st})
		}
	}
	return pods, fds, stay
}

// UnknownPodError says that a pod is not served here, or not yet.
type UnknownPodError struct{ UID string }

func (e *UnknownPodError) Error() string {
	return fmt.Sprintf("pod with uid %s, which has connections, is not served here", e.UID)
}

// Import prepares what Export has described; run gives it life and says how many connections it adopted. flows are
// theirs, by key. m is held, until run has returned or the descriptors are closed.
func (m *Manager) Import(pods []PodState, flows map[uint64]*flow.State, fds []int) (run func() int, err error) {
	if m.draining {
		return nil, errors.New("this ztunnel is stopping")
	}
	var runs []func()
	adopted := 0
	for i := range pods {
		st := &pods[i]
		p := m.pods[st.UID]
		if p == nil {
			return nil, &UnknownPodError{st.UID}
		}
		if id := p.pod.Identity.String(); id != st.Identity {
			return nil, fmt.Errorf("pod %s is %s here and %s there", p.pod.Key(), id, st.Identity)
		}
		take := func(key uint64, out bool) *flow.Flow {
			s := flows[key]
			if s == nil || s.PodUID != st.UID || (s.Direction == flow.Outbound) != out {
				return nil
			}
			delete(flows, key)
			adopted++
			return m.o.Flows.Adopt(s)
		}
		r, err := p.tunnel.Import(st.Tunnel, fds, p.adoptOut(take), p.adoptIn(take))
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.pod.Key(), err)
		}
		runs = append(runs, r)
	}
	return func() int {
		for _, r := range runs {
			r()
		}
		return adopted
	}, nil
}

func (p *proxy) adoptOut(take func(uint64, bool) *flow.Flow) tunnel.Adopt {
	return func(key uint64) (*flow.Flow, func(error), bool) {
		f := take(key, true)
		if f == nil {
			return nil, nil, false
		}
		p.conns.Add(1) // the manager is held: nobody waits for the last one
		return f, p.out.Adopt(f, p.conns.Done), true
	}
}

func (p *proxy) adoptIn(take func(uint64, bool) *flow.Flow) tunnel.Adopt {
	return func(key uint64) (*flow.Flow, func(error), bool) {
		f := take(key, false)
		if f == nil {
			return nil, nil, false
		}
		return f, f.Over, true
	}
}
