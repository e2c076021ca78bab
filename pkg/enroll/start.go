package enroll

import (
	"context"
	"errors"
	"fmt"
)

// Start enrols a pod that is being made, of which the source may know neither the address nor that it is there,
// and returns when it is captured in the namespace with this cookie. An error says what was waited for when ctx
// ended; the pod stays wanted until Stop, or until the source says otherwise.
func (r *Reconciler) Start(ctx context.Context, p Pod, cookie uint64, reason string) error {
	r.mu.Lock()
	delete(r.stopped, p.UID)
	known := r.entries[p.UID] != nil && r.entries[p.UID].shown
	r.want(Decision{Pod: p, Reason: reason})
	e := r.entries[p.UID]
	e.starting, e.shown = !known, known
	r.queue.add(p.UID) // also if nothing is new: another namespace is not seen from here
	r.count()
	r.mu.Unlock()
	for {
		turn, last, captured := r.startedIn(p.UID, cookie)
		switch {
		case captured:
			return nil
		case turn == nil:
			return fmt.Errorf("pod %s: %w", p.Key(), last)
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return fmt.Errorf("pod %s is not captured yet: %w", p.Key(), last)
		}
	}
}

// startedIn tells whether the pod is captured; if not, when to look again and what it waits for.
func (r *Reconciler) startedIn(uid string, cookie uint64) (turn <-chan struct{}, last error, captured bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[uid]
	if e == nil || e.want == nil {
		return nil, errors.New("it is not wanted any more"), false
	}
	if e.enrolled && e.cookie == cookie {
		return nil, nil, true
	}
	if e.turn == nil {
		e.turn = make(chan struct{})
	}
	if last = e.err; last == nil {
		last = errors.New("its turn has not come; the agent is busy")
	}
	return e.turn, last, false
}

// Stop says that the pod's sandbox has been taken away, which the source will show later.
func (r *Reconciler) Stop(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[uid]
	if e == nil {
		return
	}
	r.stopped[uid] = true
	r.unwant(uid, e, false, "its sandbox is gone")
	r.count()
}

// wake tells those who wait that there was an attempt. r.mu is held.
func (e *entry) wake() {
	if e.turn != nil {
		close(e.turn)
		e.turn = nil
	}
}
