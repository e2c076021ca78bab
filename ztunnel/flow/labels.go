package flow

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unique"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
)

// PeerOf describes a workload in metric labels; nil is unknown.
func PeerOf(w *model.Workload) telemetry.Peer {
	if w == nil {
		return telemetry.Peer{}
	}
	name := w.OwnerName
	if name == "" {
		name = w.Name
	}
	return telemetry.Peer{
		Workload: name, Namespace: w.Namespace, Principal: w.Identity().String(), App: w.CanonicalName, Version: w.CanonicalRev,
		CanonicalService: w.CanonicalName, CanonicalRevision: w.CanonicalRev, Cluster: w.Cluster,
	}
}

// EndOf describes one side in the access log. id is given only where it was verified or is ours.
func EndOf(w *model.Workload, addr netip.AddrPort, id identity.Identity) telemetry.End {
	e := telemetry.End{Address: addr, Identity: id.String()}
	if w != nil {
		e.Workload = w.Namespace + "/" + w.Name
	}
	return e
}

// SetService names the service dialled, in labels and log. nil clears it.
func (f *Flow) SetService(s *model.Service) {
	if s == nil {
		f.Service, f.Labels.Service, f.Labels.ServiceName, f.Labels.ServiceNamespace = "", "", "", ""
		return
	}
	f.Service = s.Hostname
	f.Labels.Service, f.Labels.ServiceName, f.Labels.ServiceNamespace = s.Hostname, s.Name, s.Namespace
}

// ServiceOf is the service that a port of w most likely was called by, where a connection does not say, and the port of it.
// It is for telemetry only; among several the first by name is taken, so that all reporters agree.
func ServiceOf(byHostname func(string) *model.Service, w *model.Workload, port uint16) (*model.Service, uint16) {
	for _, key := range slices.Sorted(maps.Keys(w.Services)) {
		for _, p := range w.Services[key] {
			if p.TargetPort == port {
				_, host, _ := strings.Cut(key, "/")
				return byHostname(host), p.ServicePort
			}
		}
	}
	return nil, 0
}

// settle takes the labels of an established flow. Most flows are between the same few workloads, and those that live long
// are many: they share what is the same.
func (f *Flow) settle(l telemetry.Labels) {
	shared := unique.Make(l)
	l = shared.Value()
	share := func(s *string, same string) {
		if *s == same {
			*s = same
		}
	}
	f.flushMu.Lock()
	defer f.flushMu.Unlock()
	share(&f.Source.Identity, l.Source.Principal)
	share(&f.Dest.Identity, l.Destination.Principal)
	share(&f.Service, l.Service)
	f.Source.Workload, f.Dest.Workload = unique.Make(f.Source.Workload).Value(), unique.Make(f.Dest.Workload).Value()
	f.labels, f.Labels = shared, nil
	f.series = f.table.metrics.Acquire(l)
}

// labelled is with which labels it is counted; not for who does not know how far it has come.
func (f *Flow) labelled() telemetry.Labels {
	if f.Labels != nil {
		return *f.Labels
	}
	return f.labels.Value()
}
