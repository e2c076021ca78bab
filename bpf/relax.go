package bpf

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/link"
)

// Relax is the first step of leaving a mesh as a whole: plaintext to pods reaches applications directly, whatever
// their policy says, and pods may send as they like; what they open, and what comes by the tunnel, still goes
// through the ztunnel. When all nodes have done it, each can unenrol its pods without a moment in which one's
// plaintext is another's refusal. Enrol undoes it.
func (r *Redirector) Relax() error {
	var mu sync.Mutex // protects errs
	var errs []error
	each(r.Pods(), func(uid string) {
		if err := r.relax(uid); err != nil && !errors.Is(err, ErrUnknownPod) {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, fmt.Errorf("relax pod %s: %w", uid, err))
		}
	})
	return errors.Join(errs...)
}

func (r *Redirector) relax(uid string) error {
	defer r.hurry.begin()()
	p, release, err := r.take(uid)
	if err != nil {
		return err
	}
	defer release()
	p.Relaxed, p.Direct, p.HandOver = true, false, false
	if err := errors.Join(r.state.put(&p.record), r.forgetIdent(p)); err != nil {
		return err
	}
	progs, err := r.programs(p)
	if err != nil {
		return err
	}
	defer progs.close()
	l, held := p.links[podProgWeftLookup]
	if !held {
		if l, err = link.LoadPinnedLink(r.podPin(p, podProgWeftLookup), nil); err != nil {
			return err
		}
		p.links[podProgWeftLookup] = l
	}
	// The guard last: answers to what is let in have to get out, but nothing else any sooner.
	return errors.Join(l.Update(progs.WeftLookup), r.detach(p, podProgWeftGuard))
}
