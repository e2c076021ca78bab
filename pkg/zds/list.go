package zds

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// List puts a pod on the list without telling anyone. It is for the time before Run; then comes Add.
func (a *Agent) List(p Pod) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.list(p)
	return err
}

// list keeps a duplicate of the pod's namespace. a.mu is held.
func (a *Agent) list(p Pod) (Pod, error) {
	if p.Netns != nil {
		f, err := duplicate(p.Netns)
		if err != nil {
			return p, fmt.Errorf("pod %s/%s: %w", p.Info.Namespace, p.Info.Name, err)
		}
		p.Netns = f
	}
	if old, ok := a.pods[p.UID]; ok && old.Netns != nil {
		old.Netns.Close() // a queued call that wanted it fails with ErrGone; p follows
	}
	a.pods[p.UID] = p
	return p, nil
}

func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("dup", dupErr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Add puts a pod on the list and waits until the latest ztunnel has answered for it. The Peer is who
// answered. Errors: ErrNoProxy, ErrDisconnected, ErrRefused, ErrGone, or ctx's; the pod stays on the list
// whatever comes.
func (a *Agent) Add(ctx context.Context, p Pod) (Peer, error) {
	answer := make(chan error, 1)
	l, err := a.add(p, func(err error) { answer <- err })
	if err != nil {
		return Peer{}, err
	}
	select {
	case err := <-answer:
		if err != nil {
			err = fmt.Errorf("pod %s/%s: %w", p.Info.Namespace, p.Info.Name, err)
		}
		return l.peer, err
	case <-ctx.Done():
		return l.peer, ctx.Err()
	}
}

func (a *Agent) add(p Pod, answer func(error)) (*link, error) {
	if p.Netns == nil {
		return nil, fmt.Errorf("pod %s/%s: no network namespace to give to the ztunnel", p.Info.Namespace, p.Info.Name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.list(p)
	if err != nil {
		return nil, err
	}
	if len(a.links) == 0 {
		return nil, ErrNoProxy
	}
	l := a.links[len(a.links)-1]
	l.enqueue(a.addCall(l, p, answer))
	return l, nil
}

// Del takes a pod off the list and tells every ztunnel, waiting for the answers of those that stay.
func (a *Agent) Del(ctx context.Context, uid string) error {
	answers := make(chan error, 4)
	n := a.del(uid, answers)
	var errs []error
	for range n {
		select {
		case err := <-answers:
			if !errors.Is(err, ErrDisconnected) {
				errs = append(errs, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func (a *Agent) del(uid string, answers chan error) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.pods[uid]; ok && p.Netns != nil {
		p.Netns.Close()
	}
	delete(a.pods, uid)
	for _, l := range a.links {
		l.enqueue(&call{req: delRequest(uid), done: func(err error) {
			go func() { answers <- err }()
		}})
	}
	return len(a.links)
}

// Current is the ztunnel that new pods go to: the latest that connected. Zero without.
func (a *Agent) Current() Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.links) == 0 {
		return Peer{}
	}
	return a.links[len(a.links)-1].peer
}

// Peers are the connected ztunnels, latest last.
func (a *Agent) Peers() []Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Peer, len(a.links))
	for i, l := range a.links {
		out[i] = l.peer
	}
	return out
}

// Close forgets the list. Call it after Run has returned.
func (a *Agent) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, p := range a.pods {
		if p.Netns != nil {
			p.Netns.Close()
		}
		delete(a.pods, uid)
	}
}
