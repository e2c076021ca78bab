package wire

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// extTraffic is the extension of a Service with what ztunnels do beyond Istio's.
const extTraffic = "weft.v1.Traffic"

// encodeTraffic is nil for a service that nothing is said of: nearly all.
func encodeTraffic(s *model.Service) *weftv1.Traffic {
	if len(s.Faults)+len(s.Carriage)+len(s.Probes)+len(s.Samples) == 0 {
		return nil
	}
	out := &weftv1.Traffic{}
	for i := range s.Faults {
		out.Faults = append(out.Faults, encodeFault(&s.Faults[i]))
	}
	for i := range s.Carriage {
		out.Carriage = append(out.Carriage, encodeCarriage(&s.Carriage[i]))
	}
	for i := range s.Probes {
		out.HealthChecks = append(out.HealthChecks, encodeProbe(&s.Probes[i]))
	}
	for _, p := range s.Samples {
		out.Samples = append(out.Samples, &weftv1.Sample{Port: uint32(p.Port), Percentage: p.Percentage})
	}
	return out
}

func encodeFault(f *model.ConnFault) *weftv1.ConnectionFault {
	out := &weftv1.ConnectionFault{
		Name: text(f.Name), DelayPercent: f.DelayPercent, Delay: encodeDuration(f.Delay), RefusePercent: f.RefusePercent,
		ResetPercent: f.ResetPercent, ResetAfter: f.ResetAfter, BandwidthPercent: f.BandwidthPercent, Bandwidth: f.Bandwidth,
	}
	if !f.Until.IsZero() {
		out.Until = timestamppb.New(f.Until)
	}
	for _, m := range f.From {
		c := &weftv1.Caller{}
		for _, n := range m.Namespaces {
			c.Namespaces = append(c.Namespaces, text(n))
		}
		for _, a := range m.ServiceAccounts {
			c.ServiceAccounts = append(c.ServiceAccounts, &weftv1.ServiceAccount{Namespace: text(a.Namespace), Name: text(a.ServiceAccount)})
		}
		out.From = append(out.From, c)
	}
	return out
}

// encodeDuration leaves out what is not set.
func encodeDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// text keeps what a person wrote encodable: one name in strange bytes must not keep a service from everybody.
func text(s string) string { return strings.ToValidUTF8(s, "�") }
