// Package health asks the applications of this node's pods whether they are well, as TrafficPolicies of their
// services say, from inside the pods: no network and no policy lies between.
//
// Prober.Run keeps one check running for each pod and Probe. A pod that fails one of them is in Unhealthy, which
// whoever reports to the controller reads whenever Changed says so. What has not been found ill is as Kubernetes
// says: also when this ztunnel starts, and when it stops.
package health

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// Options of New.
type Options struct {
	// State says which pods have which checks. Required.
	State *state.State
	// Pods of this node. Required.
	Pods func() []*pod.Pod
	// Log; nil: none.
	Log *zap.Logger
}

// Prober checks the pods of a node.
type Prober struct {
	o       Options
	changed chan struct{}

	mu      sync.Mutex // protects what follows
	running map[key]*check
	ever    bool // a check has run
}

// key is one check of one pod.
type key struct {
	pod     *pod.Pod
	uid     string // of the workload
	service string
	n       int // of the service's probes
}

// check is one that runs.
type check struct {
	probe  model.Probe
	host   string
	addr   netip.AddrPort
	cancel context.CancelFunc
	ill    bool   // under Prober.mu
	streak uint32 // results in a row that say otherwise; of its own goroutine
}

// New makes a prober; Run starts it.
func New(o Options) *Prober {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Prober{o: o, changed: make(chan struct{}, 1), running: map[key]*check{}}
}

// Changed holds a value when Unhealthy is another than before.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Unhealthy are the uids of the workloads that fail a check, sorted; used is false as long as none was ever asked for.
func (p *Prober) Unhealthy() (uids []string, used bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uids = []string{}
	for k, c := range p.running {
		if c.ill {
			uids = append(uids, k.uid)
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), p.ever
}

// look is how often it is seen whether pods have come that the configuration knew before.
const look = time.Second

// Run keeps the checks in step with pods and configuration until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		p.reconcile(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// reconcile starts what is to run and stops the rest.
func (p *Prober) reconcile(ctx context.Context) {
	want := p.wanted()
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, c := range p.running {
		if w := want[k]; w != nil && w.addr == c.addr && w.host == c.host && reflect.DeepEqual(w.probe, c.probe) {
			continue
		}
		c.cancel()
		delete(p.running, k)
		if c.ill {
			p.notify()
		}
	}
	for k, c := range want {
		if p.running[k] != nil {
			continue
		}
		p.ever = true
		p.running[k] = c
		run, cancel := context.WithCancel(ctx)
		c.cancel = cancel
		go p.run(run, k, c)
	}
}

func (p *Prober) wanted() map[key]*check {
	out := map[key]*check{}
	for _, x := range p.o.Pods() {
		w := p.o.State.PodByKey(x.Key())
		if w == nil || w.Identity() != x.Identity || len(w.Addresses) == 0 {
			continue
		}
		for service := range w.Services {
			s := p.o.State.ServiceByKey(service)
			if s == nil {
				continue
			}
			for i, probe := range s.Probes {
				if port := probe.PortAt(w, service); port != 0 {
					out[key{x, w.UID, service, i}] = &check{probe: probe, host: s.Hostname, addr: netip.AddrPortFrom(w.Addresses[0], port)}
				}
			}
		}
	}
	return out
}

// run asks until ctx ends.
func (p *Prober) run(ctx context.Context, k key, c *check) {
	t := time.NewTicker(c.probe.Interval)
	defer t.Stop()
	for {
		err := p.once(ctx, k, c)
		if ctx.Err() != nil {
			return
		}
		p.heard(k, c, err)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (p *Prober) once(ctx context.Context, k key, c *check) error {
	ctx, cancel := context.WithTimeout(ctx, c.probe.Timeout)
	defer cancel()
	return ask(ctx, &c.probe.HealthCheck, c.host, func(ctx context.Context) (net.Conn, error) {
		conn, err := k.pod.Network.DialApp(ctx, netip.Addr{}, c.addr)
		if err != nil {
			return nil, fmt.Errorf("connect to the application at %s: %w", c.addr, err) // not conn: a nil in an interface
		}
		return conn, nil
	})
}

// heard takes one result.
func (p *Prober) heard(k key, c *check, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (err != nil) == c.ill {
		c.streak = 0
		return
	}
	c.streak++
	if limit := map[bool]uint32{false: c.probe.Unhealthy, true: c.probe.Healthy}[c.ill]; c.streak < limit {
		return
	}
	c.streak, c.ill = 0, !c.ill
	p.notify()
	if c.ill {
		p.o.Log.Warn("a pod fails its health check: it gets no more traffic", zap.String("pod", k.pod.Key()), zap.String("service", c.host), zap.Error(err))
	} else {
		p.o.Log.Info("a pod is healthy again", zap.String("pod", k.pod.Key()), zap.String("service", c.host))
	}
}

func (p *Prober) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
