package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// decodeTraffic reads what ztunnels do beyond Istio's messages. What makes no sense is unreadable, and the
// last good version stays.
func decodeTraffic(s *model.Service, exts []*workloadapi.Extension) error {
	for _, e := range exts {
		if e.GetName() != extTraffic {
			continue
		}
		t := &weftv1.Traffic{}
		if err := e.GetConfig().UnmarshalTo(t); err != nil {
			return unreadable("extension %s: %w", extTraffic, err)
		}
		r := reader{}
		for _, f := range t.GetFaults() {
			s.Faults = append(s.Faults, r.fault(f))
		}
		for _, c := range t.GetCarriage() {
			s.Carriage = append(s.Carriage, r.carriage(c))
		}
		for _, h := range t.GetHealthChecks() {
			s.Probes = append(s.Probes, r.probe(h))
		}
		for _, p := range t.GetSamples() {
			s.Samples = append(s.Samples, model.Sample{Port: r.port(p.GetPort()), Percentage: r.percent("sample", p.GetPercentage())})
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// reader keeps the first thing that made no sense.
type reader struct{ err error }

func (r *reader) bad(format string, args ...any) {
	if r.err == nil {
		r.err = unreadable("extension "+extTraffic+": "+format, args...)
	}
}

func (r *reader) duration(what string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() < 0 {
		r.bad("%s is no duration", what)
		return 0
	}
	return d.AsDuration()
}

func (r *reader) percent(what string, p float64) float64 {
	if math.IsNaN(p) || p < 0 || p > 100 {
		r.bad("%s is %v percent", what, p)
		return 0
	}
	return p
}

func (r *reader) port(n uint32) uint16 {
	port, err := decodePort(n)
	if err != nil {
		r.bad("%w", err)
	}
	return port
}

func (r *reader) fault(in *weftv1.ConnectionFault) model.ConnFault {
	out := model.ConnFault{
		Name:         in.GetName(),
		DelayPercent: r.percent("delay", in.GetDelayPercent()), Delay: r.duration("delay", in.GetDelay()),
		RefusePercent: r.percent("refuse", in.GetRefusePercent()),
		ResetPercent:  r.percent("reset", in.GetResetPercent()), ResetAfter: in.GetResetAfter(),
		BandwidthPercent: r.percent("bandwidth", in.GetBandwidthPercent()), Bandwidth: in.GetBandwidth(),
	}
	if u := in.GetUntil(); u != nil {
		if err := u.CheckValid(); err != nil {
			r.bad("until of fault %s: %w", in.GetName(), err)
		}
		out.Until = u.AsTime()
	}
	for _, c := range in.GetFrom() {
		m := model.CallerMatch{Namespaces: c.GetNamespaces()}
		for _, a := range c.GetServiceAccounts() {
			m.ServiceAccounts = append(m.ServiceAccounts, model.ServiceAccountMatch{Namespace: a.GetNamespace(), ServiceAccount: a.GetName()})
		}
		out.From = append(out.From, m)
	}
	return out
}
