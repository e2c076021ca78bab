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
	"github.com/spf13/cobra"
)

// edge is who talked to whom, how, and how much.
type edge struct {
	Source      string  `json:"source"`      // namespace/workload
	Destination string  `json:"destination"` // namespace/workload
	Security    string  `json:"security"`    // mutual_tls or none
	Flags       string  `json:"responseFlags"`
	Connections float64 `json:"connections"`
	Bytes       float64 `json:"bytes"` // both ways
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
		return slices.Compare([]string{a.Source, a.Destination, a.Security, a.Flags}, []string{b.Source, b.Destination, b.Security, b.Flags})
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
			e.Source, e.Destination, e.Security, e.Flags = key.Source, key.Destination, key.Security, key.Flags
			switch {
			case strings.HasSuffix(name, "_tcp_connections_opened_total"):
				e.Connections += m.GetCounter().GetValue()
			case strings.HasSuffix(name, "_tcp_sent_bytes_total"), strings.HasSuffix(name, "_tcp_received_bytes_total"):
				e.Bytes += m.GetCounter().GetValue()
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
		Source:      l["source_workload_namespace"] + "/" + l["source_workload"],
		Destination: l["destination_workload_namespace"] + "/" + l["destination_workload"],
		Security:    l["connection_security_policy"], Flags: l["response_flags"],
	}, true
}

func getTraffic(cmd *cobra.Command, o *getOptions) (*listing, error) {
	edges, err := o.traffic(cmd.Context())
	if err != nil {
		return nil, err
	}
	l := &listing{header: []string{"SOURCE", "DESTINATION", "SECURITY", "RESULT", "CONNECTIONS", "BYTES"}, empty: "no traffic yet", events: true}
	for _, e := range edges {
		if e.Connections == 0 {
			continue
		}
		l.add([]string{e.Source, e.Destination}, e, e.Source, e.Destination, e.Security, resultText(e.Flags), fmt.Sprintf("%.0f", e.Connections), bytesText(uint64(e.Bytes)))
	}
	return l, nil
}

// resultText explains a response flag.
func resultText(flag string) string {
	switch flag {
	case "", "-":
		return "ok"
	case "UAEX":
		return "refused by policy"
	case "UF":
		return "destination unreachable"
	case "UH":
		return "no healthy endpoint"
	case "NR":
		return "nowhere to go"
	case "UC", "DC":
		return "reset"
	}
	return flag
}
