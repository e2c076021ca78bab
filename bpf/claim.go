package bpf

import (
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many pods are changed side by side where many have to be: attaching and detaching is
// mostly waiting for grace periods of the kernel. Those under its lock of network devices do not overlap
// (three of a pod, some 15 ms each at 250 Hz), the rest does: more would not be faster.
const atOnce = 8

// claim finds n its place among the pods and reserves it, so that r.mu need not
// be held during the slow rest. The caller calls release when it has finished
// with n. Pods that are in the way are removed first: that, and the wait for
// another change of the same pod, is done with all other changes shut out.
func (r *Redirector) claim(n *pod) (release func(), err error) {
	r.changes.RLock()
	if done, err := r.place(n); done || err != nil {
		if err != nil {
			r.changes.RUnlock()
			return nil, err
		}
		return func() { r.free(n); r.changes.RUnlock() }, nil
	}
	r.changes.RUnlock()
	r.changes.Lock()
	for _, old := range r.inTheWay(n) {
		if err := r.remove(old); err != nil {
			r.changes.Unlock()
			return nil, fmt.Errorf("remove what was there: %w", err)
		}
	}
	if _, err := r.place(n); err != nil {
		r.changes.Unlock()
		return nil, err
	}
	return func() { r.free(n); r.changes.Unlock() }, nil
}

// place puts n among the pods, in the stead of the same capture if there is
// one; false while another pod is in the way or this one is being changed.
func (r *Redirector) place(n *pod) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return false, os.ErrClosed
	}
	for uid, old := range r.pods {
		if uid != n.UID && old.Cookie != n.Cookie {
			continue
		}
		if uid != n.UID || old.busy || !old.matches(&n.record) {
			return false, nil
		}
	}
	if old := r.pods[n.UID]; old != nil {
		old.close()
		probes, direct, hand := n.Probes, n.Direct, n.HandOver
		n.record = old.record // its slot and the values to restore
		n.Probes, n.Direct, n.HandOver, n.Relaxed = probes, direct, hand, false
	} else {
		slot, err := r.freeSlot()
		if err != nil {
			return false, err
		}
		n.Slot = slot
	}
	n.busy = true
	r.pods[n.UID] = n
	return true, nil
}

// inTheWay are pods whose place n needs: the same in another namespace, or one
// that was never taken off this namespace.
func (r *Redirector) inTheWay(n *pod) (out []*pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, old := range r.pods {
		if (uid == n.UID || old.Cookie == n.Cookie) && (uid != n.UID || !old.matches(&n.record)) {
			out = append(out, old)
		}
	}
	return out
}

// take reserves an enrolled pod for a change. Call release afterwards.
func (r *Redirector) take(uid string) (p *pod, release func(), err error) {
	r.changes.RLock()
	unlock := r.changes.RUnlock
	p, busy := r.lookup(uid)
	if busy {
		r.changes.RUnlock()
		r.changes.Lock()
		unlock = r.changes.Unlock
		p, _ = r.lookup(uid)
	}
	if p == nil {
		unlock()
		return nil, nil, ErrUnknownPod
	}
	return p, func() { r.free(p); unlock() }, nil
}

// lookup finds a pod and marks it as being changed, unless it is already.
func (r *Redirector) lookup(uid string) (p *pod, busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p = r.pods[uid]; p == nil || r.done {
		return nil, false
	}
	busy, p.busy = p.busy, true
	return p, busy
}

func (r *Redirector) free(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.busy = false
}

// each calls fn for all items side by side, and returns when all calls have.
func each[T any](items []T, fn func(T)) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, x := range items {
		g.Go(func() error { fn(x); return nil })
	}
	_ = g.Wait() // fn cannot fail
}
