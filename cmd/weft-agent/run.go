package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/cni/install"
	"github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/hbone/handover"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/zds"
	"github.com/weftmesh/weft/ztunnel/admin"
)

const (
	bpffs        = "/sys/fs/bpf"
	sweepEvery   = 10 * time.Second
	nodeInit     = 1                      // the node's first process, seen with hostPID
	kubeletEvery = 500 * time.Millisecond // one stat(2) each
)

// agent is everything put together.
type agent struct {
	c       config
	log     *zap.Logger
	level   zap.AtomicLevel
	metrics *prometheus.Registry
	redir   *bpf.Redirector
	kubelet kubelet
	tree    *bpf.Hierarchy // nil: that of --source dir:, this process's own
	cgroups *enroll.Cgroups
	recon   *enroll.Reconciler
	zds     *zds.Agent
	watch   *watcher
	finder  *enroll.Finder // nil: namespaces have paths

	client  *kubernetes.Clientset // nil: pods are read from a folder
	events  *enroll.KubeEvents    // nil, likewise
	starter *starter              // nil: no --cni-socket
	handing *handing              // nil: --same-node-hand-over is not unselected
	install *install.Installer    // nil: no --cni-conf-dir
	cniDone func(op string, err error, took time.Duration)
}

func run(ctx context.Context, c config) error {
	if err := c.validateRun(); err != nil {
		return err
	}
	log, level, err := c.logger()
	if err != nil {
		return err
	}
	defer log.Sync() //nolint:errcheck // standard error may be a terminal, which cannot be synced
	a := &agent{c: c, log: log, level: level, metrics: prometheus.NewRegistry()}
	if err := a.prepare(); err != nil {
		if errors.Is(err, bpf.ErrKernel) && a.client != nil {
			return a.lack(ctx, err)
		}
		return err
	}
	err = a.serve(ctx)
	if err := a.redir.Close(); err != nil {
		log.Warn("close", zap.Error(err))
	}
	a.zds.Close()
	if a.events != nil {
		a.events.Close()
	}
	if a.watch.leaving.Load() {
		return errors.Join(err, a.clean())
	}
	log.Info("agent ended; captured pods stay captured", zap.Int("pods", len(a.redir.Pods())))
	return err
}

// prepare opens what may fail before anything is changed.
func (a *agent) prepare() error {
	status, err := a.read()
	if err != nil {
		return err
	}
	open, err := a.spaces()
	if err != nil {
		return err
	}
	if a.redir, err = a.open(); err != nil {
		return err
	}
	if a.cgroups, err = enroll.NewCgroups(a.cgroupOptions()); err != nil {
		return errors.Join(err, a.redir.Close())
	}
	a.recon = enroll.New(enroll.Options{
		Redirector: a.redir, Admitter: a.cgroups, Status: status, Open: open, Teller: a.teller(),
		Linger: a.c.linger, Metrics: enroll.NewMetrics(a.metrics), Log: a.log.Named("enroll"),
	})
	a.watch.r, a.watch.direct = a.recon, a.c.direct()
	switch a.c.handOver {
	case handAlways:
		a.watch.handOver = func(*corev1.Pod) bool { return true }
	case handUnselected:
		a.handing = newHanding(a.client, a.watch.again, a.log.Named("handing"))
		a.watch.handOver = a.handing.may
	}
	a.zds = zds.NewAgent(zds.AgentOptions{Path: a.c.zdsSocket, Events: a.recon.Events(), Logger: a.log.Named("zds")})
	if a.c.cniSocket != "" {
		a.starter = &starter{client: a.client.CoreV1(), watch: a.watch, recon: a.recon, finder: a.finder, forget: a.redir.Forget, direct: a.c.direct(), log: a.log.Named("cni")}
		a.meterCNI()
		if err := a.prepareCNI(); err != nil {
			return errors.Join(err, a.redir.Close())
		}
	}
	a.metrics.MustRegister(a.redir, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_agent_source_problems", Help: "Problems in what the source holds."},
			func() float64 { return float64(a.watch.problems.Load()) }))
	return nil
}

// open makes or adopts the redirection of the node.
func (a *agent) open() (*bpf.Redirector, error) {
	if err := mountBPFFS(a.c); err != nil {
		return nil, err
	}
	o := bpf.Options{Root: a.c.pins(), MaxPods: a.c.maxPods, Log: a.log.Named("bpf")}
	if a.c.autoNetns() || slices.Equal(a.c.kubeletCgroups, []string{kubeletAuto}) {
		var err error
		if a.tree, err = bpf.OpenHierarchy(nodeInit); err != nil {
			return nil, err
		}
		o.CgroupRoot = a.tree.Root()
	}
	r, err := bpf.Open(o)
	if err != nil {
		return nil, err
	}
	if len(a.c.kubeletCgroups) == 0 {
		a.log.Warn("no --kubelet-cgroup: probes of enrolled pods go through the ztunnel as plain text, and fail under STRICT")
	}
	a.kubelet = kubelet{paths: a.c.kubeletCgroups, set: r.SetKubeletCgroups, log: a.log}
	if slices.Equal(a.c.kubeletCgroups, []string{kubeletAuto}) {
		a.kubelet.auto = newKubeletFinder(a.tree, nodeInit)
	}
	if err := a.kubelet.refresh(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// cgroupOptions have ztunnels looked up in the node's hierarchy, if that may be another than this process's.
func (a *agent) cgroupOptions() enroll.CgroupOptions {
	o := enroll.CgroupOptions{Map: a.redir, Sockets: a.socketCgroups, Log: a.log.Named("cgroups")}
	if a.tree != nil {
		o.Root = a.tree.Root()
		o.Of = func(root string, pid int) (string, uint64, error) {
			rel, id, err := a.tree.Of(pid)
			return filepath.Join(root, rel), id, err
		}
	}
	return o
}

// socketCgroups are the cgroups of the sockets in enrolled pods' namespaces.
func (a *agent) socketCgroups() (ids map[uint64]bool, complete bool) {
	ids, complete = map[uint64]bool{}, true
	looked := map[string]bool{}
	all := a.zds.Spaces(func(uid string, f *os.File) {
		looked[uid] = true
		ns, err := netns.FromFile(f)
		if err == nil {
			err = errors.Join(ns.SocketCgroups(ids), ns.Close())
		}
		if err != nil {
			a.log.Debug("look for sockets of former ztunnels", zap.Error(err))
			complete = false
		}
	})
	// An agent that has just started captured pods before that it does not know yet: their sockets count, too.
	for _, uid := range a.redir.Pods() {
		complete = complete && looked[uid]
	}
	return ids, all && complete
}

func mountBPFFS(c config) error {
	if strings.HasPrefix(c.bpfRoot, bpffs+"/") {
		return bpf.MountBPFFS(bpffs)
	}
	return nil
}

// serve works until told to end, and then on until the pods are out of the mesh if that is to be.
func (a *agent) serve(told context.Context) error {
	work, end := context.WithCancel(context.WithoutCancel(told))
	defer end()
	installing, endInstall := context.WithCancel(work)
	defer endInstall()
	g, ctx := errgroup.WithContext(work)
	g.Go(func() error {
		defer end()
		select {
		case <-told.Done():
			if a.uninstalled(ctx) {
				endInstall()
				a.leave(ctx)
			}
		case <-ctx.Done():
		}
		return nil
	})
	if err := a.pages(ctx, g); err != nil {
		return err
	}
	g.Go(func() error { return a.watch.run(ctx) })
	g.Go(func() error {
		// What a ztunnel has and is not told, it drops: so all pods have to be known first.
		select {
		case <-a.watch.known:
		case <-ctx.Done():
			return nil
		}
		a.recon.Prime(a.zds)
		g.Go(func() error { return a.zds.Run(ctx) })
		g.Go(func() error {
			// Behind the ZDS socket, of which there is one agent a node.
			return direct.Hand(ctx, direct.PathBeside(a.c.zdsSocket), a.redir.DirectMaps(), a.log.Named("direct"))
		})
		g.Go(func() error {
			return handover.Vouch(ctx, handover.VoucherBeside(a.c.zdsSocket), a.cgroups.Knows, a.log.Named("handover"))
		})
		a.recon.Run(ctx)
		return nil
	})
	g.Go(func() error { return a.sweep(ctx) })
	if a.handing != nil {
		g.Go(func() error { return a.handing.run(ctx) })
	}
	if a.starter != nil {
		g.Go(func() error { return a.serveCNI(ctx) })
	}
	if a.install != nil {
		g.Go(func() error { return a.installCNI(installing) })
	}
	a.log.Info("agent started", zap.String("node", a.c.node), zap.String("pins", a.c.pins()), zap.String("zds", a.c.zdsSocket))
	return g.Wait()
}

// sweep takes the right to send from dead ztunnels, and follows the kubelet through its restarts.
func (a *agent) sweep(ctx context.Context) error {
	cgroups, kubelet := time.NewTicker(sweepEvery), time.NewTicker(kubeletEvery)
	defer cgroups.Stop()
	defer kubelet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cgroups.C:
			if err := a.cgroups.Sweep(); err != nil {
				a.log.Warn("look after cgroups of former ztunnels", zap.Error(err))
			}
		case <-kubelet.C:
			if err := a.kubelet.refresh(); err != nil {
				a.log.Warn("look after the kubelet's cgroup", zap.Error(err))
			}
		}
	}
}

// pages starts the admin socket and the metrics.
func (a *agent) pages(ctx context.Context, g *errgroup.Group) error {
	ready := func() error {
		select {
		case <-a.watch.known:
		default:
			return errors.New("the source has not been read yet")
		}
		if a.install != nil {
			return a.install.Ready()
		}
		return nil
	}
	public := http.NewServeMux()
	public.Handle("GET /metrics", admin.MetricsHandler(a.metrics))
	public.Handle("GET /ready", admin.ReadyHandler(ready))
	a.localPages(public)
	for _, p := range []struct {
		flag, addr string
		handler    http.Handler
		listen     func(string) (net.Listener, error)
	}{
		{"--admin-socket", a.c.adminSocket, a.adminPages(ready), admin.Listen},
		{"--metrics-addr", a.c.metrics, public, func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }},
	} {
		if p.addr == "" || p.addr == "off" {
			continue
		}
		l, err := p.listen(p.addr)
		if err != nil {
			return fmt.Errorf("%s: %w (is another agent running on this node?)", p.flag, err)
		}
		g.Go(func() error { return admin.Serve(ctx, l, p.handler) })
	}
	return nil
}

// cleanup takes everything off the node.
func cleanup(c config) error {
	if err := c.validate(); err != nil {
		return err
	}
	log, _, err := c.logger()
	if err != nil {
		return err
	}
	errs := []error{c.removeCNI(log)}
	if _, err := os.Stat(c.pins()); errors.Is(err, os.ErrNotExist) {
		log.Info("nothing is pinned", zap.String("pins", c.pins()))
	} else {
		o := bpf.Options{Root: c.pins(), Log: log}
		if tree, err := bpf.OpenHierarchy(nodeInit); err == nil { // the node's, where this process's is a container's
			defer tree.Close()
			o.CgroupRoot = tree.Root()
		}
		errs = append(errs, bpf.Cleanup(o))
	}
	return errors.Join(errs...)
}
