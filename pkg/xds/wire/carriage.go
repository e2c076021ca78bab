package wire

import (
	"math"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

func encodeCarriage(c *model.Carriage) *weftv1.Carriage {
	out := &weftv1.Carriage{Port: uint32(c.Port), ConnectTimeout: encodeDuration(c.Connect), IdleTimeout: encodeDuration(c.Idle)}
	if b := c.Balance; b != nil {
		out.Balance = encodeBalance(b)
		if s := b.SlowStart; s != nil {
			out.SlowStart = &weftv1.SlowStart{Window: encodeDuration(s.Window), Aggression: s.Aggression, MinPercent: s.MinPercent}
		}
	}
	if l := c.Limits; l != nil {
		if l.Connections != nil {
			out.MaxConnections = *l.Connections
		}
		if l.PerEndpoint != nil {
			out.MaxConnectionsPerEndpoint = *l.PerEndpoint
		}
	}
	if o := c.Outliers; o != nil {
		out.Outliers = &weftv1.Outliers{ConnectFailures: o.ConnectFailures, BaseEjection: encodeDuration(o.BaseEjection),
			MaxEjection: encodeDuration(o.MaxEjection), MaxPercent: o.MaxPercent}
	}
	if k := c.Keepalive; k != nil {
		out.KeepAlive = &weftv1.KeepAlive{Time: encodeDuration(k.Time), Interval: encodeDuration(k.Interval), Probes: k.Probes}
	}
	return out
}

func encodeBalance(b *model.Balance) weftv1.Carriage_Balance {
	switch {
	case b.Hash != nil && b.Hash.Identity:
		return weftv1.Carriage_CALLER_IDENTITY
	case b.Hash != nil:
		return weftv1.Carriage_CALLER_ADDRESS
	case b.Algorithm == model.RoundRobin:
		return weftv1.Carriage_ROUND_ROBIN
	case b.Algorithm == model.RandomEndpoint:
		return weftv1.Carriage_RANDOM
	}
	return weftv1.Carriage_LEAST_CONNECTIONS
}

func (r *reader) carriage(in *weftv1.Carriage) model.Carriage {
	out := model.Carriage{Connect: r.duration("connect timeout", in.GetConnectTimeout()), Idle: r.duration("idle timeout", in.GetIdleTimeout())}
	out.Port = r.port(in.GetPort())
	out.Balance = decodeBalance(in.GetBalance())
	if s := in.GetSlowStart(); s != nil {
		if out.Balance == nil {
			out.Balance = &model.Balance{Algorithm: model.LeastConnections}
		}
		out.Balance.SlowStart = r.slowStart(s)
	}
	if c, e := in.GetMaxConnections(), in.GetMaxConnectionsPerEndpoint(); c != 0 || e != 0 {
		out.Limits = &model.ConnectionLimits{Connections: present(c), PerEndpoint: present(e)}
	}
	if o := in.GetOutliers(); o != nil {
		out.Outliers = r.outliers(o)
	}
	if k := in.GetKeepAlive(); k != nil {
		out.Keepalive = &model.Keepalive{Time: r.duration("keepalive", k.GetTime()), Interval: r.duration("keepalive", k.GetInterval()), Probes: k.GetProbes()}
	}
	return out
}

// decodeBalance takes a way that is not known here for the usual one, which is nil.
func decodeBalance(b weftv1.Carriage_Balance) *model.Balance {
	switch b {
	case weftv1.Carriage_ROUND_ROBIN:
		return &model.Balance{Algorithm: model.RoundRobin}
	case weftv1.Carriage_RANDOM:
		return &model.Balance{Algorithm: model.RandomEndpoint}
	case weftv1.Carriage_CALLER_ADDRESS:
		return &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{SourceIP: true}}
	case weftv1.Carriage_CALLER_IDENTITY:
		return &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{Identity: true}}
	}
	return nil
}

func (r *reader) slowStart(in *weftv1.SlowStart) *model.SlowStart {
	if a := in.GetAggression(); !(a > 0) || math.IsInf(a, 0) || in.GetMinPercent() > 100 {
		r.bad("slow start with aggression %v from %d percent", a, in.GetMinPercent())
	}
	return &model.SlowStart{Window: r.duration("slow start", in.GetWindow()), Aggression: in.GetAggression(), MinPercent: in.GetMinPercent()}
}

func (r *reader) outliers(in *weftv1.Outliers) *model.Outliers {
	if in.GetConnectFailures() == 0 || in.GetMaxPercent() > 100 {
		r.bad("ejection after %d failures of at most %d percent", in.GetConnectFailures(), in.GetMaxPercent())
	}
	return &model.Outliers{ConnectFailures: in.GetConnectFailures(), BaseEjection: r.duration("ejection", in.GetBaseEjection()),
		MaxEjection: r.duration("ejection", in.GetMaxEjection()), MaxPercent: in.GetMaxPercent()}
}

// present is nil for what was not said.
func present(n uint32) *uint32 {
	if n == 0 {
		return nil
	}
	return &n
}
