package cluster

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// LeaseName of the Lease that the writer holds.
const LeaseName = "weft-controller"

// Leads reports whether this replica writes.
func (w *Writer) Leads() bool { return w.mine.Load() }

// Run writes whenever this replica holds the Lease, until ctx ends; then it gives the Lease back. Each time before it
// begins it calls refresh, which is to call Set if more is known by now than was set last.
func (w *Writer) Run(ctx context.Context, refresh func()) error {
	ctx = klog.NewContext(ctx, logr.Discard())
	defer w.events.stop()
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: w.o.Namespace, Name: LeaseName}, Client: w.client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: w.o.Identity},
			},
			LeaseDuration: w.o.Lease, RenewDeadline: w.o.Lease * 2 / 3, RetryPeriod: min(2*time.Second, w.o.Lease/6), ReleaseOnCancel: true, Name: LeaseName,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(ctx context.Context) { w.lead(ctx, refresh) }, OnStoppedLeading: func() {}},
		})
		if err != nil {
			return err
		}
		e.Run(ctx)
	}
	w.leading.Lock() // the last writing has ended
	defer w.leading.Unlock()
	return nil
}
