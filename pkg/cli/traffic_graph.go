package cli

import (
	"bytes"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// graph adds up series of many pages. A connection inside the mesh is counted at both of its ends; what the
// destinations report only counts for pairs that no source reports: of callers outside the mesh, of waypoints,
// of sources whose ztunnel was started anew.
type graph map[ends]*ofBoth

// ofBoth is one edge as each side reports it.
type ofBoth struct{ source, destination edge }

// add takes a page of metrics; via is the waypoint that made it, "" for a ztunnel.
func (g graph) add(page []byte, via string) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return err
	}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, p := range m.GetLabel() {
				labels[p.GetName()] = p.GetValue()
			}
			if labels["reporter"] != "" {
				g.count(name, labels, via, m.GetCounter().GetValue())
			}
		}
	}
	return nil
}

func (g graph) count(metric string, l map[string]string, via string, n float64) {
	var field func(*edge) *float64
	connections := "_tcp_connections_opened_total"
	if via != "" {
		connections = "_tcp_connections_closed_total" // only then a waypoint knows what became of it
	}
	switch {
	case strings.HasSuffix(metric, connections):
		field = func(e *edge) *float64 { return &e.Connections }
	case strings.HasSuffix(metric, "_tcp_sent_bytes_total"), strings.HasSuffix(metric, "_tcp_received_bytes_total"):
		field = func(e *edge) *float64 { return &e.Bytes }
	case strings.HasSuffix(metric, "_requests_total"):
		field = func(e *edge) *float64 { return &e.Requests }
	default:
		return
	}
	k := ends{
		Source: workloadLabel(l, "source"), Destination: workloadLabel(l, "destination"), Via: via,
		Security: l["connection_security_policy"], Flags: l["response_flags"], Code: l["response_code"],
	}
	both := g[k]
	if both == nil {
		both = &ofBoth{source: edge{ends: k}, destination: edge{ends: k}}
		g[k] = both
	}
	if l["reporter"] == "destination" {
		*field(&both.destination) += n
	} else {
		*field(&both.source) += n
	}
}

// workloadLabel names one end: by its workload, or where no endpoint was chosen by the service that was called.
func workloadLabel(l map[string]string, end string) string {
	namespace, name := l[end+"_workload_namespace"], l[end+"_workload"]
	if service := l[end+"_service_name"]; name == "unknown" && service != "" && service != "unknown" {
		namespace, name = l[end+"_service_namespace"], service
	}
	return namespace + "/" + name
}

func (g graph) edges() []edge {
	type pair struct{ source, destination string }
	told := map[pair]bool{}
	for k, both := range g {
		if !both.source.idle() && k.Via == "" {
			told[pair{k.Source, k.Destination}] = true
		}
	}
	var out []edge
	for k, both := range g {
		if k.Via == "" && !told[pair{k.Source, k.Destination}] {
			out = append(out, both.destination)
		} else {
			out = append(out, both.source)
		}
	}
	slices.SortFunc(out, compareEdges)
	return out
}
