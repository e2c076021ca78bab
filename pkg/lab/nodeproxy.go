package lab

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"sync/atomic"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/pkg/source"
)

// NodeProxyOptions are what a node's proxy needs.
type NodeProxyOptions struct {
	Layout Layout
	Log    *zap.Logger // nil: silent
}

// RunNodeProxy keeps the virtual addresses and the DNS of the calling process's network namespace, a
// node's, in line with the cluster's services and pods until the context ends.
func RunNodeProxy(ctx context.Context, o NodeProxyOptions) error {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	var current atomic.Pointer[zone]
	current.Store(newZone(nil, nil).withController())
	g, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(current.Load().answer(q)) })
	for _, network := range []string{"udp", "tcp"} {
		srv := &dns.Server{Net: network, Addr: net.JoinHostPort(DNSAddress.String(), "53"), Handler: handler}
		g.Go(srv.ListenAndServe)
		g.Go(func() error {
			<-ctx.Done()
			return srv.Shutdown()
		})
	}
	g.Go(func() error {
		var last []forward
		return follow(ctx, []string{o.Layout.servicesDir(), o.Layout.podsDir()}, o.Log, func(all objects, problems []source.Problem) {
			for _, p := range problems {
				o.Log.Error("cannot read the cluster", zap.String("problem", p.String()))
			}
			current.Store(newZone(all.Services, all.Pods).withController())
			next := forwards(all.Services, all.Pods)
			if last != nil && reflect.DeepEqual(next, last) {
				return
			}
			if err := programForwards(next); err != nil {
				o.Log.Error("cannot program virtual addresses, trying again", zap.Error(err))
				return
			}
			last = next
			o.Log.Info("virtual addresses programmed", zap.Int("count", len(next)))
		})
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("node proxy: %w", err)
	}
	return nil
}
