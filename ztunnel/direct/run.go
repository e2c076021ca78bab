package direct

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/ztunnel/flow"
)

// Run keeps the kernel in step with the mesh until ctx ends or Release is called.
func (t *Table) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.stop = cancel
	if t.released {
		cancel()
	}
	t.mu.Unlock()
	defer t.Release()
	kernels := make(chan Kernel)
	go t.fetch(ctx, kernels)
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	var renew, looked time.Time
	for {
		changed := t.o.State.Changed()
		t.revise()
		for settled := true; settled; {
			select {
			case <-ctx.Done():
				return
			case k := <-kernels:
				t.adopt(k)
				t.look(true)
				renew = time.Time{}
			case <-tick.C:
				t.read()
				if now := time.Now(); now.Sub(renew) >= renewEvery {
					renew = now
					t.renew()
				}
				if now := time.Now(); now.Sub(looked) >= lookEvery {
					looked = now
					t.look(false)
				}
			case <-changed:
				settled = false
				pause(ctx, gather)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// fetch gets the maps from the agent, and again from the next one: it may have made new ones.
func (t *Table) fetch(ctx context.Context, out chan<- Kernel) {
	for ; ctx.Err() == nil; pause(ctx, retryEvery) {
		if err := t.o.Ready(); err != nil {
			continue
		}
		k, agent, err := t.o.Take(ctx)
		if err != nil {
			t.o.Log.Debug("no direct path", zap.Error(err))
			continue
		}
		select {
		case out <- k:
			stop := context.AfterFunc(ctx, func() { agent.Close() })
			_, _ = agent.Read(make([]byte, 1)) // it says nothing: this is its end
			stop()
		case <-ctx.Done():
			k.Close()
		}
		agent.Close()
	}
}

// adopt takes the maps, and decides on what somebody else has permitted in them.
func (t *Table) adopt(k Kernel) {
	pairs, err := k.Pairs()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel != nil {
		t.kernel.Close()
	}
	t.kernel = k
	clear(t.pairs)
	for _, p := range pairs {
		t.pairs[p] = true
	}
	clear(t.vips)
	vips, verr := k.Published()
	for _, v := range vips {
		t.vips[v] = published{} // decided on below
	}
	if err = errors.Join(err, verr); err != nil {
		// What cannot be read cannot be taken back either.
		t.o.Log.Warn("what may go directly cannot be read", zap.Error(err))
		t.kernel = nil
		k.Close()
		return
	}
	t.o.Log.Info("pods of this node may talk directly where policy leaves it open", zap.Int("adopted", len(pairs)))
	t.review()
}

func (t *Table) revise() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.review()
}

// review decides on every pair again. t.mu is held.
func (t *Table) review() {
	if t.kernel == nil {
		return
	}
	for pair := range t.pairs {
		if failure := t.judge(pair); failure != nil {
			t.forbid(pair, failure)
		}
	}
	for v := range t.vips {
		t.publish(v)
	}
}

// renew prolongs the lease, and sees whether pods have lost their addresses or the right to talk directly.
func (t *Table) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel == nil || !t.o.State.Synced() {
		return
	}
	gone := false
	for pair := range t.pairs {
		from, to := t.pods[pair.From], t.pods[pair.To]
		if from != nil && to != nil {
			fw, _ := t.place(from, pair)
			tw, _ := t.place(to, pair)
			if fw != nil && tw != nil {
				continue
			}
		}
		t.forbid(pair, moved())
		gone = true
	}
	if gone {
		t.review() // services may have lost an endpoint
	}
	if err := t.kernel.Renew(lease); err != nil {
		t.o.Log.Warn("direct path", zap.Error(err))
	}
}

// read takes in what the kernel tells.
func (t *Table) read() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel != nil {
		t.take()
	}
}

// take does so; t.mu is held, and there is a kernel.
func (t *Table) take() {
	if err := t.kernel.Read(t.event); err != nil {
		t.o.Log.Warn("direct path", zap.Error(err))
	}
}

// Release gives the maps back: what is permitted stays so for the next ztunnel to decide on, until the lease is over,
// and connections go on. Nothing is permitted any more.
func (t *Table) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released {
		return
	}
	t.released = true
	if t.stop != nil {
		t.stop()
	}
	if t.kernel != nil {
		t.take() // what comes later is the next one's
		t.kernel.Close()
		t.kernel = nil
	}
	for id, c := range t.conns {
		c.each((*flow.Flow).Forget)
		delete(t.conns, id)
	}
}
