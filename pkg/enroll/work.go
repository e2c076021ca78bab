package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/zds"
)

// errWaiting is no failure: an event will wake the pod.
var errWaiting = errors.New("waiting for a ztunnel to connect (does the weft-ztunnel pod of this node run?)")

// work brings one pod a step nearer to what is wanted.
func (r *Reconciler) work(ctx context.Context, uid string) {
	r.mu.Lock()
	e := r.entries[uid]
	if e == nil || e.want == nil && e.reason == adopted { // nothing has been decided about it
		r.mu.Unlock()
		return
	}
	want, runs, p, acked, began := e.want, e.runs, e.progress, e.acked, e.since
	r.mu.Unlock()

	var err error
	fresh := !p.announced
	if want != nil {
		err = r.bring(ctx, *want, &p, acked)
	} else {
		err = r.takeOff(ctx, uid, runs, &p)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	e.progress = p
	defer e.wake()
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errWaiting):
		e.err, e.attempts = err, 0
		r.tell(e, true)
	case err != nil:
		r.failed(uid, e, err)
	default:
		e.err, e.attempts = nil, 0
		r.relieve(e)
		if want == nil && !p.enrolled && p.offAt.IsZero() && e.want == nil {
			delete(r.entries, uid)
		} else if want != nil && fresh && p.announced {
			r.o.Metrics.enrolled(r.o.Clock.Now().Sub(began))
		}
	}
	r.count()
}

// failed notes an error and has the pod tried again. r.mu is held.
func (r *Reconciler) failed(uid string, e *entry, err error) {
	pause := r.o.RetryMax
	if e.attempts < 16 {
		pause = min(pause, r.o.RetryMin<<e.attempts)
	}
	e.err = err
	e.attempts++
	r.tell(e, false)
	r.o.Metrics.failed()
	log := r.log.Warn
	if e.attempts > 1 { // once is for people, the rest is on the admin page
		log = r.log.Debug
	}
	log("pod has to be tried again", zap.String("uid", uid), zap.Int("attempt", e.attempts), zap.Duration("in", pause), zap.Error(err))
	r.queue.addAfter(uid, pause)
}

// bring takes a pod into the mesh, or makes sure that it is.
func (r *Reconciler) bring(ctx context.Context, w Pod, p *progress, acked uint64) error {
	ns, err := r.o.Open(w)
	if err != nil {
		return err
	}
	defer ns.Close()
	if p.cookie != 0 && p.cookie != ns.Cookie() {
		// Another pod under the same name. What was captured is gone or will be removed by Enrol.
		if err := r.o.Status.Withdraw(w.UID); err != nil {
			return err
		}
		*p = progress{enrolled: p.enrolled, listed: p.listed}
	}
	if err := r.serve(ctx, w, ns, p, acked); err != nil {
		return err
	}
	if p.announced && p.pod.equal(w) && p.offAt.IsZero() {
		return nil
	}
	p.pod = w
	if err := r.o.Status.Announce(w); err != nil {
		p.announced = false
		return err
	}
	r.log.Info("pod is in the mesh", zap.String("pod", w.Key()), zap.String("uid", w.UID))
	p.announced, p.offAt = true, time.Time{}
	return nil
}

// serve has the current ztunnel serve the pod, and the pod captured for it.
func (r *Reconciler) serve(ctx context.Context, w Pod, ns Namespace, p *progress, acked uint64) error {
	captured := p.enrolled && p.cookie == ns.Cookie() && slices.Equal(p.pod.Addresses, w.Addresses) &&
		slices.Equal(p.pod.ProbePorts, w.ProbePorts) && p.pod.Direct == w.Direct && p.pod.HandOver == w.HandOver
	peer := r.proxy.Current()
	switch {
	case captured && (peer.IsZero() || peer.ID == p.peer) && p.pod.ServiceAccount == w.ServiceAccount:
		return nil // without a ztunnel it stays captured and is refused
	case !peer.IsZero() && peer.ID == acked && p.listed == listing{ns.Cookie(), w.ServiceAccount}:
	default:
		var err error
		if peer, err = r.give(ctx, w, ns); err != nil {
			return err
		}
		p.listed = listing{ns.Cookie(), w.ServiceAccount}
	}
	if err := r.mayUse(peer); err != nil {
		return err
	}
	ls, err := ns.Listeners(peer.PID)
	if err != nil {
		return fmt.Errorf("%v: %w", peer, err)
	}
	defer ls.Close()
	if r.proxy.Current() != peer { // its PID may be another process's by now
		return fmt.Errorf("%v: %w", peer, zds.ErrDisconnected)
	}
	dns, err := check(w, &ls)
	if err != nil {
		return err
	}
	adopted := p.enrolled && p.cookie == 0
	if captured && p.noDNS == !dns || adopted {
		err = r.o.Redirector.SetListeners(w.UID, ls)
	}
	// What a former agent captured works from here on, and is brought up to date all the same.
	if !captured || p.noDNS == dns || err != nil { // the last: repair
		err = r.capture(w, ns, &ls, !dns)
	}
	if err != nil {
		return err
	}
	p.enrolled, p.cookie, p.peer, p.noDNS = true, ns.Cookie(), peer.ID, !dns
	p.pod.Addresses, p.pod.ServiceAccount, p.pod.ProbePorts = w.Addresses, w.ServiceAccount, w.ProbePorts
	p.pod.Direct, p.pod.HandOver = w.Direct, w.HandOver
	r.o.Metrics.served()
	return nil
}

// give hands the namespace to the ztunnel and waits until it can serve the pod.
func (r *Reconciler) give(ctx context.Context, w Pod, ns Namespace) (zds.Peer, error) {
	f, err := ns.File()
	if err != nil {
		return zds.Peer{}, err
	}
	defer f.Close()
	peer, err := r.proxy.Add(ctx, zds.Pod{UID: w.UID, Info: infoOf(w), Netns: f})
	if errors.Is(err, zds.ErrNoProxy) {
		err = errWaiting
	}
	return peer, err
}

func (r *Reconciler) mayUse(peer zds.Peer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err, known := r.admitted[peer.ID]
	if !known {
		return fmt.Errorf("%v: %w", peer, zds.ErrDisconnected)
	}
	return err
}

func (r *Reconciler) capture(w Pod, ns Namespace, ls *bpf.Listeners, noDNS bool) error {
	f, err := ns.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return r.o.Redirector.Enrol(bpf.Pod{UID: w.UID, File: f, Addresses: w.Addresses, Listeners: ls, NoDNS: noDNS,
		ProbePorts: w.ProbePorts, Direct: w.Direct, HandOver: w.HandOver})
}

// takeOff takes a pod out of the mesh.
func (r *Reconciler) takeOff(ctx context.Context, uid string, runs bool, p *progress) error {
	now := r.o.Clock.Now()
	if p.announced {
		if err := r.o.Status.Withdraw(uid); err != nil {
			return err
		}
		p.announced = false
		if runs && p.enrolled && r.o.Linger > 0 {
			p.offAt = now.Add(r.o.Linger)
		}
	}
	if left := p.offAt.Sub(now); runs && left > 0 {
		r.queue.addAfter(uid, left)
		return nil
	}
	if p.enrolled {
		if err := r.o.Redirector.Unenrol(uid); err != nil && !errors.Is(err, bpf.ErrUnknownPod) {
			return err
		}
		p.enrolled = false
	}
	if err := r.proxy.Del(ctx, uid); err != nil {
		return err
	}
	*p = progress{}
	r.log.Info("pod is out of the mesh", zap.String("uid", uid))
	return nil
}
