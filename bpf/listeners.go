package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// Ports on which a ztunnel listens inside the pod's namespace.
const (
	PortOutbound = 15001 // TCP of the pod
	PortInbound  = 15006 // plaintext TCP to the pod
	PortHBONE    = 15008 // tunnelled TCP to the pod
	PortDNS      = 15053 // UDP queries of the pod
)

// Slot is the place of one kind of listener in a pod's map.
type Slot int

// As in src/weft.h; the IPv6 slots follow the IPv4 ones.
const (
	Inbound Slot = iota
	Outbound
	HBONE
	DNS
	Inbound6
	Outbound6
	HBONE6
	DNS6
	slots
)

var slotNames = [slots]string{"inbound IPv4", "outbound IPv4", "HBONE IPv4", "DNS IPv4",
	"inbound IPv6", "outbound IPv6", "HBONE IPv6", "DNS IPv6"}

func (s Slot) String() string { return slotNames[s] }

// Listeners are a ztunnel's listening sockets in one pod, by Slot; nil = none,
// and what would have gone there is refused.
type Listeners [slots]*os.File

// Close closes the descriptors held here; the sockets stay in the kernel's map
// for as long as their owner keeps them open.
func (l *Listeners) Close() {
	for i, f := range l {
		if f != nil {
			f.Close()
			l[i] = nil
		}
	}
}

// TakeListeners collects the listeners that process pid, a ztunnel, has opened
// in the namespace. Those that it does not have stay nil. Close the result when
// it has been given to Enrol or SetListeners.
func TakeListeners(ns *netns.NS, pid int) (Listeners, error) {
	var out Listeners
	found, err := ns.FindListeners(pid, PortOutbound, PortInbound, PortHBONE, PortDNS)
	if err != nil {
		return out, err
	}
	for _, l := range found {
		var s Slot
		switch port := l.Addr.Port(); {
		case l.UDP && port == PortDNS:
			s = DNS
		case !l.UDP && port == PortOutbound:
			s = Outbound
		case !l.UDP && port == PortInbound:
			s = Inbound
		case !l.UDP && port == PortHBONE:
			s = HBONE
		default:
			l.File.Close()
			continue
		}
		if !l.Addr.Addr().Is4() {
			s += Inbound6
		}
		if out[s] != nil {
			out[s].Close() // two processes' worth at a handover: any will do
		}
		out[s] = l.File
	}
	return out, nil
}

// Missing lists the slots that a pod with these address families needs but
// that are empty.
func (l *Listeners) Missing(v4, v6, dns bool) (missing []Slot) {
	for s := range slots {
		family, isDNS := v4, s == DNS || s == DNS6
		if s >= Inbound6 {
			family = v6
		}
		if family && (dns || !isDNS) && l[s] == nil {
			missing = append(missing, s)
		}
	}
	return missing
}

// SetListeners points the pod's slots at these sockets; nil ones are emptied.
// The swap of one slot is atomic, and connections already accepted stay.
func (r *Redirector) SetListeners(uid string, l Listeners) error {
	p, release, err := r.take(uid)
	if err != nil {
		return fmt.Errorf("set listeners of pod %s: %w", uid, err)
	}
	defer release()
	if p.listeners == nil {
		return fmt.Errorf("set listeners of pod %s: its capture is incomplete (enrol it again)", uid)
	}
	if err := p.set(l); err != nil {
		return fmt.Errorf("set listeners of pod %s: %w", uid, err)
	}
	return nil
}

func (p *pod) set(l Listeners) error {
	for s, f := range l {
		key := uint32(s)
		if f == nil {
			// An empty sockmap slot answers EINVAL to delete.
			err := p.listeners.Delete(key)
			if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("empty slot %v: %w", Slot(s), err)
			}
			continue
		}
		if err := p.listeners.Put(key, uint64(f.Fd())); err != nil {
			return fmt.Errorf("slot %v: %w (is it a listening socket?)", Slot(s), err)
		}
	}
	return nil
}
