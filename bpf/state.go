package bpf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// record is what a successor must know to keep or undo an enrolment. It lies in
// a pinned map beside the links, so that neither can be there without the other.
type record struct {
	UID      string            `json:"uid"`
	Slot     uint32            `json:"slot"`
	Cookie   uint64            `json:"cookie"`         // of the pod's namespace
	Inode    uint64            `json:"inode"`          // of the same, to find it again
	Path     string            `json:"path,omitempty"` // where it was opened, if known
	IP4      netip.Addr        `json:"ip4,omitzero"`
	IP6      netip.Addr        `json:"ip6,omitzero"`
	NoDNS    bool              `json:"noDNS,omitempty"`
	Relaxed  bool              `json:"relaxed,omitempty"`
	Direct   bool              `json:"direct,omitempty"`   // other pods of the node may be talked to directly
	HandOver bool              `json:"handOver,omitempty"` // past the node's firewall
	Probes   []uint16          `json:"probes,omitempty"`   // ports that the kubelet may open
	Device   string            `json:"device"`             // the pod's interface
	Index    int               `json:"index"`              // its number in the pod
	Host     int               `json:"host"`               // number of its host's end on the node
	Sysctls  map[string]string `json:"sysctls,omitempty"`  // values before, of those changed
	Done     bool              `json:"done,omitempty"`     // enrolment was completed once
}

func (r *record) flags() (f uint32) {
	if r.IP4.IsValid() {
		f |= flagV4
	}
	if r.IP6.IsValid() {
		f |= flagV6
	}
	if !r.NoDNS {
		f |= flagDNS
	}
	if r.Relaxed {
		f |= flagRelaxed
	}
	if r.Direct {
		f |= flagDirect
	}
	if r.HandOver {
		f |= flagHanded
	}
	return f
}

// As in src/weft.h.
const (
	flagV4  = 1
	flagV6  = 2
	flagDNS = 4

	flagRelaxed = 8
	flagDirect  = 16
	flagHanded  = 32
)

const (
	stateMap  = "pods_state"
	stateSize = 2048 // bytes of JSON a pod
)

// state is a pinned hash map: slot number → record as zero-padded JSON.
type state struct{ *ebpf.Map }

// openState opens the pinned map, or makes it when pods > 0.
func openState(root string, pods uint32) (*state, error) {
	if pods == 0 {
		m, err := ebpf.LoadPinnedMap(filepath.Join(root, stateMap), nil)
		if err != nil {
			return nil, err
		}
		return &state{m}, nil
	}
	m, err := ebpf.NewMapWithOptions(&ebpf.MapSpec{
		Name: stateMap, Type: ebpf.Hash, KeySize: 4, ValueSize: stateSize,
		MaxEntries: pods, Flags: 1, // BPF_F_NO_PREALLOC
		Pinning: ebpf.PinByName,
	}, ebpf.MapOptions{PinPath: root})
	if err != nil {
		return nil, err
	}
	return &state{m}, nil
}

func (s *state) put(r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(b) > stateSize {
		return fmt.Errorf("record of pod %s takes %d bytes, more than %d", r.UID, len(b), stateSize)
	}
	value := make([]byte, stateSize)
	copy(value, b)
	if err := s.Put(r.Slot, value); err != nil {
		return fmt.Errorf("record pod %s: %w", r.UID, err)
	}
	return nil
}

func (s *state) drop(slot uint32) error {
	if err := s.Delete(slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget slot %d: %w", slot, err)
	}
	return nil
}

// all returns the readable records; those that are not are reported in err.
func (s *state) all() (recs []record, err error) {
	var slot uint32
	var value []byte
	it := s.Iterate()
	for it.Next(&slot, &value) {
		var r record
		if e := json.Unmarshal(bytes.TrimRight(value, "\x00"), &r); e != nil {
			err = errors.Join(err, fmt.Errorf("record of slot %d: %w", slot, e))
			continue
		}
		recs = append(recs, r)
	}
	return recs, errors.Join(err, it.Err())
}
