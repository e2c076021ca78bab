package controller

import (
	"cmp"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

var algorithms = map[api.Algorithm]model.Algorithm{
	api.AlgorithmRoundRobin: model.RoundRobin, api.AlgorithmLeastRequest: model.LeastRequest, api.AlgorithmLeastConnections: model.LeastConnections,
	api.AlgorithmRandom: model.RandomEndpoint, api.AlgorithmRingHash: model.RingHash, api.AlgorithmMaglev: model.Maglev,
}

func balance(in *api.LoadBalancing) *model.Balance {
	if in == nil {
		return nil
	}
	out := &model.Balance{Algorithm: algorithms[in.Algorithm], Panic: count(in.PanicThreshold, 0)}
	if h := in.HashOn; h != nil {
		out.Hash = &model.Hash{Header: h.Header, Query: h.QueryParameter, SourceIP: h.Source == api.HashSourceIP, Identity: h.Source == api.HashSourceIdentity}
		if c := h.Cookie; c != nil {
			out.Hash.Cookie, out.Hash.TTL, out.Hash.Path = c.Name, lasting(c.TTL, 0), cmp.Or(c.Path, "/")
		}
	}
	if s := in.SlowStart; s != nil {
		out.SlowStart = &model.SlowStart{Window: s.Window.Value(), Aggression: or(s.Aggression, 1), MinPercent: count(s.MinWeightPercent, 10)}
	}
	return out
}

var topologyKeys = map[api.TopologyKey]model.Scope{
	"Network": model.ScopeNetwork, "Region": model.ScopeRegion, "Zone": model.ScopeZone, "Node": model.ScopeNode,
}

func localityPolicy(in *api.Locality) *model.LocalityPolicy {
	if in == nil {
		return nil
	}
	out := &model.LocalityPolicy{Failover: in.Failover}
	for _, k := range in.Prefer {
		if s := topologyKeys[k]; s != "" {
			out.Prefer = append(out.Prefer, s)
		}
	}
	for _, d := range in.Distribute {
		if out.Distribute == nil {
			out.Distribute = map[string]map[string]uint32{}
		}
		shares := map[string]uint32{}
		for _, z := range d.To {
			shares[z.Zone] = uint32(max(z.Percent, 0))
		}
		out.Distribute[d.From] = shares
	}
	return out
}
