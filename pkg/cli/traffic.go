package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// edge is who talked to whom, how, and how much.
type edge struct {
	source, destination string
	security            string
	flags               string
	connections         float64
	bytes               float64
}

// traffic reads the ztunnels' metrics as edges. Each connection inside the mesh is counted at both ends;
// only the source's report is taken, or the destination's when the source is outside.
func (r *remote) traffic(ctx context.Context) ([]edge, error) {
	sockets, err := r.ztunnelSockets()
	if err != nil {
		return nil, err
	}
	sum := map[edge]edge{} // by the names alone
	var errs []error
	for _, node := range sortedKeys(sockets) {
		page, err := ask(ctx, sockets[node], "/metrics")
		if err == nil {
			err = addEdges(sum, page)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("metrics of ztunnel %s: %w", node, err))
		}
	}
	out := make([]edge, 0, len(sum))
	for _, e := range sum {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b edge) int {
		return slices.Compare([]string{a.source, a.destination, a.security, a.flags}, []string{b.source, b.destination, b.security, b.flags})
	})
	return out, errors.Join(errs...)
}

func addEdges(sum map[edge]edge, page []byte) error {
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
			key, ok := edgeOf(labels)
			if !ok {
				continue
			}
			e := sum[key]
			e.source, e.destination, e.security, e.flags = key.source, key.destination, key.security, key.flags
			switch {
			case strings.HasSuffix(name, "_tcp_connections_opened_total"):
				e.connections += m.GetCounter().GetValue()
			case strings.HasSuffix(name, "_tcp_sent_bytes_total"), strings.HasSuffix(name, "_tcp_received_bytes_total"):
				e.bytes += m.GetCounter().GetValue()
			default:
				continue
			}
			sum[key] = e
		}
	}
	return nil
}

// edgeOf names a series; ok is false for the half of a connection that its other end reports.
func edgeOf(l map[string]string) (edge, bool) {
	inMesh := l["source_principal"] != "" && l["source_principal"] != "unknown"
	if l["reporter"] == "destination" && inMesh || l["reporter"] == "" {
		return edge{}, false
	}
	return edge{
		source:      l["source_workload_namespace"] + "/" + l["source_workload"],
		destination: l["destination_workload_namespace"] + "/" + l["destination_workload"],
		security:    l["connection_security_policy"], flags: l["response_flags"],
	}, true
}
