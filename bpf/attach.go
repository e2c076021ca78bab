package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"go.uber.org/zap"
)

const listenersPin = "listeners"

func (r *Redirector) podDir(slot uint32) string {
	return filepath.Join(r.o.Root, "pods", strconv.FormatUint(uint64(slot), 10))
}

func (r *Redirector) podPin(p *pod, name string) string {
	return filepath.Join(r.podDir(p.Slot), name)
}

// programs loads the pod's own instances, around its pinned listeners if any.
func (r *Redirector) programs(p *pod) (*podPrograms, error) {
	spec := r.spec.Copy()
	if err := constants(spec, &p.record); err != nil {
		return nil, err
	}
	if err := r.openListeners(p, spec); err != nil {
		return nil, err
	}
	var progs podPrograms
	err := spec.LoadAndAssign(&progs, &ebpf.CollectionOptions{
		Maps:            ebpf.MapOptions{PinPath: r.o.Root},
		MapReplacements: map[string]*ebpf.Map{podMapListeners: p.listeners},
	})
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", r.explain(err))
	}
	return &progs, nil
}

func (p *podPrograms) close() { p.Close() }

func constants(spec *ebpf.CollectionSpec, rec *record) error {
	var probes [maxProbePorts]uint16
	copy(probes[:], rec.Probes)
	return errors.Join(
		spec.Variables[podVarPodSlot].Set(rec.Slot),
		spec.Variables[podVarPodNs].Set(rec.Cookie),
		spec.Variables[podVarPodFlags].Set(rec.flags()),
		spec.Variables[podVarPodIp4].Set(word4(rec.IP4)),
		spec.Variables[podVarPodIp6].Set(words6(rec.IP6)),
		spec.Variables[podVarPodProbePorts].Set(probes),
	)
}

// word4 is the address as the kernel holds it: network order in memory.
func word4(a netip.Addr) uint32 {
	if !a.IsValid() {
		return 0
	}
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

func words6(a netip.Addr) (w [4]uint32) {
	if !a.IsValid() {
		return w
	}
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

func (r *Redirector) openListeners(p *pod, spec *ebpf.CollectionSpec) error {
	if p.listeners != nil {
		return nil
	}
	if err := os.MkdirAll(r.podDir(p.Slot), 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	pin := r.podPin(p, listenersPin)
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		if m, err = ebpf.NewMap(spec.Maps[podMapListeners]); err == nil {
			err = m.Pin(pin)
		}
	}
	if err != nil {
		return fmt.Errorf("listeners map: %w", err)
	}
	p.listeners = m
	return nil
}

// attachPod attaches what lives in the pod's namespace.
func (r *Redirector) attachPod(p *pod, progs *podPrograms) error {
	err := p.ns.Do(func() error {
		return r.tcx(p, podProgWeftInbound, progs.WeftInbound, p.Index, ebpf.AttachTCXIngress)
	})
	if err != nil {
		return fmt.Errorf("mark inbound packets on %s: %w", p.Device, err)
	}
	err = p.ns.WithFd(func(fd int) error {
		l, err := ensureLink(r.podPin(p, podProgWeftLookup), progs.WeftLookup, func() (link.Link, error) {
			return link.AttachNetNs(fd, progs.WeftLookup)
		})
		if err == nil {
			p.links[podProgWeftLookup] = l
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("attach sk_lookup to the pod's namespace: %w", err)
	}
	return nil
}

// attachRegister has probes noted on the host's end of the veth. It comes before the pod's own programs: a probe
// that nobody noted would be taken for plaintext from outside.
func (r *Redirector) attachRegister(p *pod, progs *podPrograms) error {
	return r.o.Node.Do(func() error {
		if err := r.tcx(p, podProgWeftRegister, progs.WeftRegister, p.Host, ebpf.AttachTCXEgress); err != nil {
			return fmt.Errorf("register probes on interface %d: %w", p.Host, err)
		}
		return nil
	})
}

// attachGuard closes every way out but the tunnel's, on the host's end of the veth.
func (r *Redirector) attachGuard(p *pod, progs *podPrograms) error {
	return r.o.Node.Do(func() error {
		if err := r.tcx(p, podProgWeftGuard, progs.WeftGuard, p.Host, ebpf.AttachTCXIngress); err != nil {
			return fmt.Errorf("guard interface %d: %w", p.Host, err)
		}
		return nil
	})
}

// tcx goes before all other programs: one of theirs that redirects or accepts
// must not spare a packet the guard.
func (r *Redirector) tcx(p *pod, name string, prog *ebpf.Program, index int, at ebpf.AttachType) error {
	l, err := ensureLink(r.podPin(p, name), prog, func() (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: at, Anchor: link.Head()})
	})
	if err != nil {
		return err
	}
	p.links[name] = l
	return nil
}

// introduce tells the connect hooks who lives in the namespace.
func (r *Redirector) introduce(p *pod) error {
	if err := r.node.Slots.Put(p.Cookie, p.listeners); err != nil {
		return fmt.Errorf("publish listeners to connect hooks: %w", err)
	}
	self := nodeSelf{Slot: p.Slot, Flags: p.flags(), Ip4: word4(p.IP4), Ip6: words6(p.IP6)}
	if err := r.node.Selves.Put(p.Cookie, &self); err != nil {
		return fmt.Errorf("publish pod to connect hooks: %w", err)
	}
	return nil
}

// takeOver replaces the programs behind a predecessor's pinned links.
func (r *Redirector) takeOver(p *pod) error {
	progs, err := r.programs(p)
	if err != nil {
		return err
	}
	defer progs.close()
	for name, prog := range map[string]*ebpf.Program{
		podProgWeftGuard: progs.WeftGuard, podProgWeftRegister: progs.WeftRegister,
		podProgWeftInbound: progs.WeftInbound, podProgWeftLookup: progs.WeftLookup,
	} {
		l, err := link.LoadPinnedLink(r.podPin(p, name), nil)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := l.Update(prog); err != nil {
			l.Close()
			return fmt.Errorf("update %s: %w (has the pod ended?)", name, err)
		}
		p.links[name] = l
	}
	return nil
}

// detach ends the named links, held or only pinned. Unpinning alone would do it
// too, but later: the kernel frees a pinned link in the background.
func (r *Redirector) detach(p *pod, names ...string) error {
	var errs []error
	for _, name := range names {
		pin, l := r.podPin(p, name), p.links[name]
		if l == nil {
			var err error
			if l, err = link.LoadPinnedLink(pin, nil); err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					errs = append(errs, fmt.Errorf("open %s: %w", name, err))
				}
				continue
			}
		}
		delete(p.links, name)
		// Fails only when what it was attached to is gone already.
		if err := l.Detach(); err != nil {
			r.log.Debug("detach", zap.String("pod", p.UID), zap.String("link", name), zap.Error(err))
		}
		l.Close()
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("unpin %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
