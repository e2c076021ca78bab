package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// DecodeResource reads the encoding of an Address, as DecodeAddress does its message, and shares what repeats.
//
// A mesh consists of workloads, which nearly all say the same few things. Those are read here without the message in
// between, which takes several times the memory and time; whatever else there is, and all that is odd, is left
// to the message.
func (s *Shared) DecodeResource(b []byte) (*model.Workload, *model.Service, error) {
	if w, ok := s.workload(b); ok {
		return w, nil, nil
	}
	a := &workloadapi.Address{}
	if err := proto.Unmarshal(b, a); err != nil {
		return nil, nil, unreadable("%w", err)
	}
	return DecodeAddress(a)
}

// Fields of istio.workload.Address, Workload and what is in it.
const (
	addressWorkload = 1

	workloadName, workloadNamespace, workloadAddress, workloadNetwork, workloadTunnel  = 1, 2, 3, 4, 5
	workloadTrustDomain, workloadAccount, workloadNode, workloadCanonical, workloadRev = 6, 7, 9, 10, 11
	workloadOwnerKind, workloadOwner, workloadNative, workloadPolicy, workloadStatus   = 12, 13, 14, 16, 17
	workloadCluster, workloadUID, workloadHostname, workloadServices, workloadLocality = 18, 20, 21, 22, 24
	workloadNetworkMode                                                                = 25
	localityRegion, localityZone, localitySubzone                                      = 1, 2, 3
	entryKey, entryValue, portListPort, portService, portTarget, portApp               = 1, 2, 1, 1, 2, 3
)

// workload reads what is a workload of common fields only.
func (s *Shared) workload(b []byte) (*model.Workload, bool) {
	n, typ, head := protowire.ConsumeTag(b)
	if head < 0 || n != addressWorkload || typ != protowire.BytesType {
		return nil, false
	}
	in, used := protowire.ConsumeBytes(b[head:])
	if used < 0 || head+used != len(b) {
		return nil, false
	}
	f := fields{shared: s, w: &model.Workload{}}
	if !each(in, f.take) || len(f.uid) == 0 {
		return nil, false
	}
	return f.finish()
}

// each hands over the fields of a message: of a varint its value, of anything else its content. It is false for what
// is not a message, or has other kinds of fields, and when take is.
func each(b []byte, take func(n protowire.Number, varint uint64, content []byte) bool) bool {
	for len(b) > 0 {
		n, typ, used := protowire.ConsumeTag(b)
		if used < 0 {
			return false
		}
		b = b[used:]
		var v uint64
		var content []byte
		switch typ {
		case protowire.VarintType:
			v, used = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, used = protowire.ConsumeBytes(b)
			if content == nil {
				content = []byte{}
			}
		default:
			return false
		}
		if used < 0 || !take(n, v, content) {
			return false
		}
		b = b[used:]
	}
	return true
}

// fields are those of one workload so far.
type fields struct {
	shared             *Shared
	w                  *model.Workload
	uid, name          []byte
	owner              int32
	services, policies []byte // the contents of all, each behind its length
	located            bool
}

func (f *fields) take(n protowire.Number, v uint64, b []byte) bool {
	if b == nil {
		return f.number(n, v)
	}
	switch n {
	case workloadAddress:
		a, err := decodeAddr(b)
		f.w.Addresses = append(f.w.Addresses, a)
		return err == nil
	case workloadServices:
		f.services = protowire.AppendBytes(f.services, b)
		return true
	case workloadLocality:
		known := !f.located
		f.located = true
		return known && each(b, f.locality)
	}
	if !utf8.Valid(b) {
		return false
	}
	switch n {
	case workloadUID:
		f.uid = b
	case workloadName:
		f.name = b
	case workloadPolicy:
		f.policies = protowire.AppendBytes(f.policies, b)
	default:
		return f.text(n, b)
	}
	return true
}

func (f *fields) text(n protowire.Number, b []byte) bool {
	var to *string
	switch n {
	case workloadNamespace:
		to = &f.w.Namespace
	case workloadNetwork:
		to = &f.w.Network
	case workloadTrustDomain:
		to = &f.w.TrustDomain
	case workloadAccount:
		to = &f.w.ServiceAccount
	case workloadNode:
		to = &f.w.Node
	case workloadCanonical:
		to = &f.w.CanonicalName
	case workloadRev:
		to = &f.w.CanonicalRev
	case workloadOwner:
		to = &f.w.OwnerName
	case workloadCluster:
		to = &f.w.Cluster
	case workloadHostname:
		to = &f.w.Hostname
	default:
		return false
	}
	*to = f.shared.text(b)
	return true
}

func (f *fields) number(n protowire.Number, v uint64) bool {
	switch n {
	case workloadTunnel:
		switch workloadapi.TunnelProtocol(int32(v)) {
		case workloadapi.TunnelProtocol_NONE:
			f.w.Protocol = model.Plain
		case workloadapi.TunnelProtocol_HBONE:
			f.w.Protocol = model.HBONE
		default:
			return false
		}
	case workloadOwnerKind:
		f.owner = int32(v)
	case workloadNative:
		f.w.NativeTunnel = v != 0
	case workloadStatus:
		f.w.Unhealthy = int32(v) != int32(workloadapi.WorkloadStatus_HEALTHY)
	case workloadNetworkMode:
		f.w.HostNetwork = int32(v) == int32(workloadapi.NetworkMode_HOST_NETWORK)
	default:
		return false
	}
	return true
}

func (f *fields) locality(n protowire.Number, _ uint64, b []byte) bool {
	if b == nil || !utf8.Valid(b) {
		return false
	}
	switch n {
	case localityRegion:
		f.w.Locality.Region = f.shared.text(b)
	case localityZone:
		f.w.Locality.Zone = f.shared.text(b)
	case localitySubzone:
		f.w.Locality.Subzone = f.shared.text(b)
	default:
		return false
	}
	return true
}

func (f *fields) finish() (*model.Workload, bool) {
	w := f.w
	w.UID, w.Name = names(f.uid, f.name)
	if w.TrustDomain == "" {
		w.TrustDomain = identity.DefaultTrustDomain
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	if owner := workloadapi.WorkloadType(f.owner); w.OwnerName != "" || owner != workloadapi.WorkloadType_DEPLOYMENT {
		w.OwnerKind = ownerFromWire[owner]
	}
	var ok bool
	if w.Services, ok = f.shared.memberships(f.services); !ok {
		return nil, false
	}
	w.Policies = f.shared.list(f.policies)
	return w, true
}

// memberships reads the entries of the map of services.
func (s *Shared) memberships(in []byte) (map[string][]model.Port, bool) {
	if len(in) == 0 {
		return nil, true
	}
	if known, ok := s.services[string(in)]; ok {
		return known, true
	}
	out := map[string][]model.Port{}
	for rest := in; len(rest) > 0; {
		entry, used := protowire.ConsumeBytes(rest)
		rest = rest[used:]
		var key string
		var ports []model.Port
		seen := 0
		if !each(entry, func(n protowire.Number, _ uint64, b []byte) bool {
			if b == nil || n > entryValue || seen&(1<<n) != 0 {
				return false
			}
			seen |= 1 << n
			switch {
			case n == entryKey && utf8.Valid(b):
				key = s.text(b)
				return true
			case n == entryValue:
				return each(b, func(n protowire.Number, _ uint64, b []byte) bool {
					p, ok := port(b)
					ports = append(ports, p)
					return ok && n == portListPort
				})
			}
			return false
		}) || seen != 1<<entryKey|1<<entryValue {
			return nil, false
		}
		out[key] = ports
	}
	if s.services == nil {
		s.services = map[string]map[string][]model.Port{}
	}
	s.services[string(in)] = out
	return out, true
}

func port(b []byte) (p model.Port, ok bool) {
	if b == nil {
		return p, false
	}
	return p, each(b, func(n protowire.Number, v uint64, b []byte) bool {
		if b != nil || v > 65535 {
			return false
		}
		switch n {
		case portService:
			p.ServicePort = uint16(v)
		case portTarget:
			p.TargetPort = uint16(v)
		case portApp:
			p.App = appFromWire[workloadapi.AppProtocol(int32(v))]
		default:
			return false
		}
		return true
	})
}

// list reads strings, each behind its length.
func (s *Shared) list(in []byte) []string {
	if len(in) == 0 {
		return nil
	}
	if known, ok := s.policies[string(in)]; ok {
		return known
	}
	var out []string
	for rest := in; len(rest) > 0; {
		b, used := protowire.ConsumeBytes(rest)
		rest = rest[used:]
		out = append(out, s.text(b))
	}
	if s.policies == nil {
		s.policies = map[string][]string{}
	}
	s.policies[string(in)] = out
	return out
}
