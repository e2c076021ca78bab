package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/netns"
)

// Pod is one pod to capture. Its namespace is given by path or open file.
type Pod struct {
	UID       string       // its name in all other calls
	Netns     string       // path of its network namespace
	File      *os.File     // or the open namespace; stays the caller's
	Addresses []netip.Addr // its own, at most one of a family
	Listeners *Listeners   // ztunnel's, if known: then no connection is refused meanwhile
	NoDNS     bool         // leave UDP port 53 alone: the ztunnel serves no names

	// Direct lets it talk directly to other such pods of this node where the ztunnel says so: see direct.go.
	Direct bool

	// HandOver has packets between it and other such pods handed from veth to veth: faster than the node forwards them,
	// and past the node's firewall, and so past its NetworkPolicies. It lets pods behind a bridge talk directly.
	HandOver bool

	// ProbePorts are those that the kubelet may open past the tunnel, the first 16 of them. To others it comes
	// as everybody without the mesh: whoever may make a pod can have the kubelet connect to any address.
	ProbePorts []uint16
}

const maxProbePorts = 16 // PROBE_PORTS

// pod is an enrolled pod and the handles on it.
type pod struct {
	record
	ns        *netns.NS            // nil for an adopted pod that was not enrolled again
	links     map[string]link.Link // by program name
	listeners *ebpf.Map
	busy      bool // being changed by one call; guarded by Redirector.mu
}

func (p *pod) close() {
	for _, l := range p.links {
		l.Close()
	}
	if p.listeners != nil {
		p.listeners.Close()
	}
	if p.ns != nil {
		p.ns.Close()
	}
	p.links, p.listeners, p.ns = map[string]link.Link{}, nil, nil
}

// Enrol captures the pod, or repairs and refreshes its capture. When it returns
// nil no TCP leaves or enters the pod but through the listeners; connections
// that were open before are reset, for they would run in the clear. On error
// everything done for a pod that was not enrolled before is undone.
func (r *Redirector) Enrol(p Pod) error {
	defer r.hurry.begin()()
	n, err := r.survey(p)
	if err != nil {
		return fmt.Errorf("enrol pod %s: %w", p.UID, err)
	}
	release, err := r.claim(n)
	if err != nil {
		n.close()
		return fmt.Errorf("enrol pod %s: %w", p.UID, err)
	}
	defer release()
	wasDone := n.Done
	if err := r.apply(n, p.Listeners); err != nil {
		err = fmt.Errorf("enrol pod %s: %w", p.UID, err)
		if !wasDone {
			return errors.Join(err, r.remove(n))
		}
		return err // it stays captured as it was
	}
	r.log.Info("enrolled pod", zap.String("pod", p.UID), zap.Uint32("slot", n.Slot), zap.Int("host_ifindex", n.Host))
	return nil
}

// matches tells whether other is the same capture, so that links can stay.
func (r *record) matches(other *record) bool {
	return r.Cookie == other.Cookie && r.IP4 == other.IP4 && r.IP6 == other.IP6 &&
		r.Index == other.Index && r.Host == other.Host && r.NoDNS == other.NoDNS
}

// freeSlot finds a number for a pod. r.mu is held.
func (r *Redirector) freeSlot() (uint32, error) {
	used := map[uint32]bool{}
	for _, p := range r.pods {
		used[p.Slot] = true
	}
	// Round about, so that no slot is soon used again.
	for i := 1; i <= r.o.MaxPods; i++ {
		s := (r.last+uint32(i)-1)%uint32(r.o.MaxPods) + 1
		if !used[s] {
			r.last = s
			return s, nil
		}
	}
	return 0, fmt.Errorf("all %d pod slots of this node are in use (raise --max-pods and run the agent's cleanup)", r.o.MaxPods)
}

// apply makes the record true. Every step can be repeated. Capture comes before
// the guard, so that a running pod loses no connection attempt in between;
// until Enrol returns nobody has been told that the pod is secured.
func (r *Redirector) apply(p *pod, ls *Listeners) error {
	first := !p.Done
	if err := r.state.put(&p.record); err != nil {
		return err
	}
	if err := r.unidentify(p); err != nil {
		return err
	}
	progs, err := r.programs(p)
	if err != nil {
		return err
	}
	defer progs.close()
	if ls != nil {
		if err := p.set(*ls); err != nil {
			return err
		}
	}
	if err := r.setSysctls(p); err != nil {
		return err
	}
	if err := r.attachRegister(p, progs); err != nil {
		return err
	}
	if err := r.attachPod(p, progs); err != nil {
		return err
	}
	if first {
		r.resetOld(p) // while their RSTs still find the way out
	}
	if err := p.addRoutes(); err != nil {
		return err
	}
	if err := r.introduce(p); err != nil {
		return err
	}
	if err := r.attachGuard(p, progs); err != nil {
		return err
	}
	if err := r.identify(p); err != nil { // when it can be held to its own
		return err
	}
	if first {
		r.resetOld(p) // and what slipped in between
	}
	p.Done = true
	return r.state.put(&p.record)
}

// resetOld ends connections opened before the pod was captured. Those within
// the pod itself stay.
func (r *Redirector) resetOld(p *pod) {
	n, err := p.ns.DestroyTCP(func(local, remote netip.AddrPort) bool {
		own := func(a netip.Addr) bool { return a.IsLoopback() || a == p.IP4 || a == p.IP6 }
		return !own(local.Addr()) || !own(remote.Addr())
	})
	if err != nil {
		r.log.Warn("connections from before the enrolment were not reset; the guard stalls them until they time out",
			zap.String("pod", p.UID), zap.Error(err))
	}
	if n > 0 {
		r.log.Info("reset connections from before the enrolment", zap.String("pod", p.UID), zap.Int("connections", n))
	}
}

// Unenrol leaves the pod as it was before Enrol. It also works when the pod's
// namespace is gone, and for pods adopted from a predecessor.
func (r *Redirector) Unenrol(uid string) error {
	defer r.hurry.begin()()
	p, release, err := r.take(uid)
	if err != nil {
		return fmt.Errorf("unenrol pod %s: %w", uid, err)
	}
	defer release()
	if err := r.remove(p); err != nil {
		return fmt.Errorf("unenrol pod %s: %w", uid, err)
	}
	r.log.Info("unenrolled pod", zap.String("pod", uid))
	return nil
}

// remove undoes p and forgets it; on error it stays known, to be tried again.
func (r *Redirector) remove(p *pod) error {
	if err := r.undo(p); err != nil {
		return err
	}
	r.mu.Lock() // one lock for both: whoever reads the counters misses nothing and sees nothing twice
	defer r.mu.Unlock()
	if err := r.retire(p.Slot); err != nil {
		return err
	}
	delete(r.pods, p.UID)
	return nil
}

// undo takes the guard off first: from here on the pod speaks for itself.
func (r *Redirector) undo(p *pod) error {
	var errs []error
	if p.ns == nil {
		if p.ns = findNS(&p.record); p.ns == nil {
			r.log.Info("the pod's namespace is gone, or not to be found: its own rules go with it",
				zap.String("pod", p.UID), zap.String("path", p.Path))
		}
	}
	if r.node.Selves != nil {
		errs = append(errs, r.forgetIdent(p))
		errs = append(errs, ignoreMissing(r.node.Selves.Delete(p.Cookie)), ignoreMissing(r.node.Slots.Delete(p.Cookie)))
	}
	errs = append(errs, r.detach(p, podProgWeftGuard))
	if p.ns != nil {
		errs = append(errs, p.delRoutes())
	}
	errs = append(errs, r.detach(p, podProgWeftLookup, podProgWeftInbound), r.detach(p, podProgWeftRegister))
	if p.ns != nil {
		errs = append(errs, p.restoreSysctls())
	}
	p.close()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(r.podDir(p.Slot)), r.state.drop(p.Slot))
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
