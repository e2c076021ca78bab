package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/enroll"
)

// An agent that ends asks for so long whether Weft is being uninstalled, then gives the other nodes time, and
// waits for the last pod to be out: together well within the pod's terminationGracePeriodSeconds.
const (
	askPatience   = 8 * time.Second
	relaxFor      = 10 * time.Second // kubelets that are busy tell their agents late
	leavePatience = 25 * time.Second
	leavePoll     = 50 * time.Millisecond
)

// uninstalling is the reason of every pod then.
const uninstalling = "Weft is being uninstalled"

// uninstalled tells an uninstall from a restart, an upgrade, and a DaemonSet that somebody deleted: only
// `weft-controller uninstall` leaves its mark, and then deletes the DaemonSet. Without a clear answer pods
// stay captured.
func (a *agent) uninstalled(ctx context.Context) bool {
	if a.client == nil {
		return false
	}
	namespace := os.Getenv("POD_NAMESPACE")
	if namespace == "" {
		namespace = api.SystemNamespace
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	for {
		yes, err := a.marked(ctx, namespace)
		if err == nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			if err != nil {
				a.log.Warn("may not ask whether Weft is being uninstalled; pods stay captured", zap.Error(err))
			}
			return yes
		}
		select {
		case <-ctx.Done():
			a.log.Warn("cannot learn whether Weft is being uninstalled; pods stay captured (if it is: weft-agent cleanup)", zap.Error(err))
			return false
		case <-time.After(askPatience / 20):
		}
	}
}

func (a *agent) marked(ctx context.Context, namespace string) (bool, error) {
	_, err := a.client.CoreV1().ConfigMaps(namespace).Get(ctx, api.UninstallConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ds, err := a.client.AppsV1().DaemonSets(namespace).Get(ctx, "weft-agent", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && ds.DeletionTimestamp != nil, err
}

// leave gives the node's pods back. First all of them take plain text, whatever their policy, so that none
// refuses a pod whose node was quicker. Then they leave as if none were labelled any more: each is told of
// first, and captured until the mesh has heard of it. What is left over is taken off by cleanup.
func (a *agent) leave(ctx context.Context) {
	a.log.Info("Weft is being uninstalled: giving the node back")
	if a.install != nil {
		a.install.Wait() // or it would put the plugin back
	}
	if err := a.c.removeCNI(a.log); err != nil {
		a.log.Error("new pods may be refused by weft-cni until it is gone; it is tried again at the end", zap.Error(err))
	}
	if err := a.redir.Relax(); err != nil {
		a.log.Error("for a moment pods may refuse plain text of nodes that were quicker", zap.Error(err))
	}
	select {
	case <-ctx.Done():
	case <-time.After(relaxFor):
	}
	a.watch.leave()
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	for {
		var in []string
		for _, v := range a.recon.Views() {
			if v.State != enroll.StateIgnored {
				in = append(in, v.Key())
			}
		}
		if len(in) == 0 {
			a.log.Info("all pods are out of the mesh")
			return
		}
		select {
		case <-ctx.Done():
			a.log.Error("pods are not out of the mesh in time; they are cut off it now", zap.Strings("pods", in))
			return
		case <-time.After(leavePoll):
		}
	}
}

// clean removes from the node what outlives the agent.
func (a *agent) clean() error {
	errs := []error{cleanup(a.c)}
	for _, path := range []string{a.c.zdsSocket, a.c.adminSocket} {
		if err := os.Remove(path); path != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// The folder of pins of all nodes goes with the last one.
	for _, dir := range []string{filepath.Dir(a.c.zdsSocket), a.c.bpfRoot} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.log.Info("left", zap.String("folder", dir), zap.Error(err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the node is not clean: %w", err)
	}
	a.log.Info("the node is clean")
	return nil
}

// leave has everything decided anew: no pod is the mesh's any more.
func (w *watcher) leave() {
	w.leaving.Store(true)
	w.deciding.Lock()
	defer w.deciding.Unlock()
	o, _ := w.seen()
	w.r.Set(w.decide(stateOf(o, nil)), true)
}

func (w *watcher) decide(s enroll.State) []enroll.Decision {
	s.Direct, s.HandOver = w.direct, w.handOver
	out := enroll.Decide(w.node, s)
	if w.leaving.Load() {
		out = slices.Clone(out)
		for i := range out {
			out[i].Verdict, out[i].Reason = enroll.Leave, uninstalling
		}
	}
	return out
}
