package tunnel

import (
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// State is what a pod's tunnel gives to another process. It holds keys, see hbone.ConnState.
type State struct{ Out, In []hbone.ConnState }

// Adopt finds the flow of a stream that has come from another process; done is called at its end. false: nobody
// knows it, and it is reset.
type Adopt func(key uint64) (f *flow.Flow, done func(error), ok bool)

// Staying counts connections that Export would leave here, most of them for a moment only.
func (t *Tunnel) Staying(f *hbone.Frozen) int { return t.pool.Staying(f) + t.server.Staying(f) }

// Export describes what can move, and appends its descriptors to fds; see hbone.Pool.Export.
func (t *Tunnel) Export(f *hbone.Frozen, fds []int) (st State, all []int, stay int) {
	var a, b int
	st.Out, fds, a = t.pool.Export(f, fds)
	st.In, fds, b = t.server.Export(f, fds)
	return st, fds, a + b
}

// Import prepares what Export has described; run gives it life. fds are all that came, and the caller's until then.
// out adopts streams that the pod opened, in those that it accepted.
func (t *Tunnel) Import(st State, fds []int, out, in Adopt) (run func(), err error) {
	a, err := t.pool.Import(st.Out, fds, adopting(out, true))
	if err != nil {
		return nil, err
	}
	b, err := t.server.Import(st.In, fds, adopting(in, false))
	if err != nil {
		return nil, err
	}
	return func() {
		a.Run()
		b.Run()
	}, nil
}

func adopting(adopt Adopt, appIsClient bool) hbone.Adopt {
	return func(s *hbone.Stream, meta []byte) (a hbone.Adoption, ok bool) {
		key, ok := flow.KeyOf(meta)
		if !ok {
			return a, false
		}
		f, done, ok := adopt(key)
		if !ok {
			return a, false
		}
		f.OnKill(s.Reset)
		return hbone.Adoption{Options: splicing(f, appIsClient), Done: func(err error) { done(broken(err, appIsClient)) }}, true
	}
}

// Keys are those of all flows in it.
func (st *State) Keys(each func(uint64)) {
	for _, conns := range [][]hbone.ConnState{st.Out, st.In} {
		for i := range conns {
			for _, s := range conns[i].Streams {
				if key, ok := flow.KeyOf(s.Meta); ok {
					each(key)
				}
			}
		}
	}
}
