package lab

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/pkg/source"
)

// retry is how often followers are called without a change: what failed is tried again.
const retry = 2 * time.Second

// follow calls changed with what folders hold and what is wrong with it: at once, after each change, and
// every retry, until the context ends. Calls do not overlap.
func follow(ctx context.Context, dirs []string, log *zap.Logger, changed func(objects, []source.Problem)) error {
	d, err := source.Open(source.Options{Dirs: dirs, Logger: log})
	if err != nil {
		return err
	}
	type news struct {
		objects  objects
		problems []source.Problem
	}
	latest := make(chan news, 1) // the newest, when nobody has taken it yet
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return d.Run(ctx, func(o *source.Objects, p []source.Problem) {
			select {
			case <-latest:
			default:
			}
			latest <- news{pick(o), p}
		})
	})
	g.Go(func() error {
		tick := time.NewTicker(retry)
		defer tick.Stop()
		var n *news
		for {
			select {
			case got := <-latest:
				n = &got
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			if n != nil {
				changed(n.objects, n.problems)
			}
		}
	})
	return g.Wait()
}
