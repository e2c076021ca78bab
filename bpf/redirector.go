package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/netns"
)

// DefaultRoot is where maps and links are pinned unless told otherwise.
const DefaultRoot = "/sys/fs/bpf/weft"

// Sentinels, to be tested with errors.Is.
var (
	ErrUnknownPod   = errors.New("pod is not enrolled")
	ErrNotBPFFS     = errors.New("not on a BPF file system")
	ErrIncompatible = errors.New("pinned by another version")
	ErrForeign      = errors.New("the pod is captured by somebody else")
	ErrKernel       = errors.New("unfit for the mesh")
)

// Options of a Redirector; the zero value serves the node that the process is on.
type Options struct {
	Root       string      // pins live here, on a bpffs; default DefaultRoot. One node, one root.
	CgroupRoot string      // mount point of cgroup2; default: the one in /proc/self/mountinfo
	Node       *netns.NS   // namespace of the host's ends of the pods' veths; default: the process's own
	MaxPods    int         // most pods at a time; default 1024; an adopted root keeps its own number
	Log        *zap.Logger // default: none
}

// Redirector captures the traffic of enrolled pods. All methods may be called
// concurrently; changes of one pod are made one after the other, of several side
// by side.
type Redirector struct {
	o       Options
	log     *zap.Logger
	ownNode bool // Node was opened here and is closed here

	hurry   *expedite
	changes sync.RWMutex // held shared by whoever changes one pod, else exclusively; taken before mu

	mu    sync.Mutex           // guards what follows, of which only pods, last and done change after Open
	pods  map[string]*pod      // by UID
	node  nodeObjects          // programs and maps that all pods share
	links map[string]link.Link // cgroup hooks by program name
	kube  *ebpf.Map            // kubelet_cgroups
	probe *ebpf.Map            // probes, and
	open  *ebpf.Map            // opened, held so that they are there from the start
	spec  *ebpf.CollectionSpec // of one pod, before its constants are set
	state *state
	last  uint32 // slot given out last
	done  bool
}

// Open loads the programs of the node, or adopts the pinned ones of a
// predecessor without a gap: its pods stay enrolled throughout. Nothing is
// mounted; see MountBPFFS.
func Open(o Options) (*Redirector, error) {
	r, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := r.load(); err != nil {
		r.Close()
		if lack := Lacking(Probe()); lack != nil && !errors.Is(err, ErrIncompatible) {
			return nil, fmt.Errorf("load eBPF programs: %w: %w", lack, err)
		}
		return nil, fmt.Errorf("load eBPF programs: %w", err)
	}
	if err := r.adopt(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func prepare(o Options) (*Redirector, error) {
	if o.Root == "" {
		o.Root = DefaultRoot
	}
	if o.MaxPods <= 0 {
		o.MaxPods = 1024
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w (needs root)", err)
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	if err := onBPFFS(o.Root); err != nil {
		return nil, err
	}
	if o.CgroupRoot == "" {
		root, err := CgroupRoot()
		if err != nil {
			return nil, err
		}
		o.CgroupRoot = root
	}
	r := &Redirector{o: o, log: o.Log, pods: map[string]*pod{}, links: map[string]link.Link{}, hurry: newExpedite(o.Root, o.Log)}
	r.hurry.recover()
	if o.Node == nil {
		ns, err := netns.Current()
		if err != nil {
			return nil, err
		}
		r.o.Node, r.ownNode = ns, true
	}
	return r, nil
}

// load brings in the shared maps and the hooks of the cgroup root.
func (r *Redirector) load() error {
	spec, err := loadNode()
	if err != nil {
		return err
	}
	if r.spec, err = loadPod(); err != nil {
		return err
	}
	r.resize(spec)
	if err := adapt(spec); err != nil {
		return err
	}
	opts := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: r.o.Root}}
	if err := spec.LoadAndAssign(&r.node, opts); err != nil {
		return r.explain(err)
	}
	if r.kube, err = ebpf.NewMapWithOptions(r.spec.Maps[podMapKubeletCgroups], opts.Maps); err != nil {
		return r.explain(err)
	}
	if r.probe, err = ebpf.NewMapWithOptions(r.spec.Maps[podMapProbes], opts.Maps); err != nil {
		return r.explain(err)
	}
	if r.open, err = ebpf.NewMapWithOptions(r.spec.Maps[podMapOpened], opts.Maps); err != nil {
		return r.explain(err)
	}
	if r.state, err = openState(r.o.Root, uint32(r.o.MaxPods)); err != nil {
		return r.explain(err)
	}
	for name, h := range map[string]struct {
		prog *ebpf.Program
		at   ebpf.AttachType
	}{
		nodeProgWeftConnect4:     {r.node.WeftConnect4, ebpf.AttachCGroupInet4Connect},
		nodeProgWeftConnect6:     {r.node.WeftConnect6, ebpf.AttachCGroupInet6Connect},
		nodeProgWeftSendmsg4:     {r.node.WeftSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
		nodeProgWeftSendmsg6:     {r.node.WeftSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
		nodeProgWeftGetpeername4: {r.node.WeftGetpeername4, ebpf.AttachCgroupInet4GetPeername},
		nodeProgWeftGetpeername6: {r.node.WeftGetpeername6, ebpf.AttachCgroupInet6GetPeername},
		nodeProgWeftSockops:      {r.node.WeftSockops, ebpf.AttachCGroupSockOps},
	} {
		l, err := ensureLink(filepath.Join(r.o.Root, name), h.prog, func() (link.Link, error) {
			return link.AttachCgroup(link.CgroupOptions{Path: r.o.CgroupRoot, Attach: h.at, Program: h.prog})
		})
		if err != nil {
			return fmt.Errorf("attach %s to %s: %w", name, r.o.CgroupRoot, err)
		}
		r.links[name] = l
	}
	return nil
}

// resize fits the shared maps to MaxPods, or MaxPods to maps already pinned.
func (r *Redirector) resize(spec *ebpf.CollectionSpec) {
	if m, err := ebpf.LoadPinnedMap(filepath.Join(r.o.Root, nodeMapCounters), nil); err == nil {
		if n := int(m.MaxEntries()/counterRoom) - 1; n > 0 {
			r.o.MaxPods = n
		}
		m.Close()
	}
	n := uint32(r.o.MaxPods)
	spec.Maps[nodeMapCounters].MaxEntries = (n + 1) * counterRoom
	spec.Maps[nodeMapSelves].MaxEntries = n
	spec.Maps[nodeMapSlots].MaxEntries = n
	spec.Maps[nodeMapIdents].MaxEntries, r.spec.Maps[podMapIdents].MaxEntries = 2*n, 2*n
	r.spec.Maps[podMapCounters].MaxEntries = (n + 1) * counterRoom
}

func (r *Redirector) explain(err error) error {
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("%s: %w: %w (run the agent's cleanup, which unenrols all pods, then start again)", r.o.Root, ErrIncompatible, err)
	}
	return err
}

// adopt takes over the pods that a predecessor left enrolled.
func (r *Redirector) adopt() error {
	recs, err := r.state.all()
	if err != nil {
		return err
	}
	each(recs, func(rec record) {
		p := &pod{record: rec, links: map[string]link.Link{}}
		if err := r.takeOver(p); err != nil {
			// Fail closed: whatever of it is pinned stays in force.
			r.log.Warn("adopted pod is incomplete; it stays captured until it is enrolled again or unenrolled",
				zap.String("pod", rec.UID), zap.Error(err))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pods[rec.UID] = p
		r.last = max(r.last, rec.Slot)
	})
	if len(recs) > 0 {
		r.log.Info("adopted pods", zap.Int("pods", len(recs)), zap.String("root", r.o.Root))
	}
	return nil
}

// ensureLink updates the pinned link to prog in place, without a gap, or
// attaches and pins a new one.
func ensureLink(pin string, prog *ebpf.Program, attach func() (link.Link, error)) (link.Link, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		if err = l.Update(prog); err == nil {
			return l, nil
		}
		// The device or namespace that it was attached to is gone.
		l.Close()
		os.Remove(pin)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if l, err = attach(); err != nil {
		return nil, err
	}
	if err := l.Pin(pin); err != nil {
		l.Close()
		return nil, fmt.Errorf("pin: %w", err)
	}
	return l, nil
}

// Pods lists the UIDs of the enrolled pods, adopted ones included.
func (r *Redirector) Pods() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	uids := make([]string, 0, len(r.pods))
	for uid := range r.pods {
		uids = append(uids, uid)
	}
	return uids
}

// Close releases the handles and leaves everything pinned and in force.
func (r *Redirector) Close() error {
	r.changes.Lock() // waits for what is being done
	defer r.changes.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil
	}
	r.done = true
	for _, p := range r.pods {
		p.close()
	}
	for _, l := range r.links {
		l.Close()
	}
	r.kube.Close() // may be nil, as the next two
	r.probe.Close()
	r.open.Close()
	if r.state != nil {
		r.state.Close()
	}
	if r.ownNode {
		r.o.Node.Close()
	}
	return r.node.Close()
}

// Teardown unenrols every pod and removes all that was ever pinned here. The
// Redirector is closed afterwards.
func (r *Redirector) Teardown() error {
	var errs []error
	var mu sync.Mutex // protects errs meanwhile
	each(r.Pods(), func(uid string) {
		if err := r.Unenrol(uid); err != nil {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	})
	r.mu.Lock()
	for _, l := range r.links {
		if err := l.Detach(); err != nil {
			errs = append(errs, fmt.Errorf("detach: %w", err))
		}
	}
	r.mu.Unlock()
	errs = append(errs, r.Close(), os.RemoveAll(r.o.Root))
	return errors.Join(errs...)
}

// Cleanup is Teardown for pins that this version cannot adopt, or when no
// Redirector is wanted at all. It needs no program to load.
func Cleanup(o Options) error {
	r, err := prepare(o)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.state, err = openState(r.o.Root, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("no record of enrolled pods: rules in their namespaces may remain", zap.Error(err))
	}
	var errs []error
	if r.state != nil {
		recs, err := r.state.all()
		errs = append(errs, err)
		for _, rec := range recs {
			errs = append(errs, r.undo(&pod{record: rec}))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(r.o.Root))...)
}
