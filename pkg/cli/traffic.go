package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

// edge is who talked to whom, how, and how much.
type edge struct {
	ends
	Connections float64 `json:"connections"`
	Requests    float64 `json:"requests,omitempty"` // that a waypoint carried
	Bytes       float64 `json:"bytes"`              // both ways
}

// ends tell edges apart.
type ends struct {
	Source      string `json:"source"`        // namespace/workload
	Destination string `json:"destination"`   // namespace/workload
	Via         string `json:"via,omitempty"` // waypoint that reports it, namespace/name
	Security    string `json:"security"`      // mutual_tls, same_node or none
	Flags       string `json:"responseFlags"`
	Code        string `json:"responseCode,omitempty"` // of requests
}

// idle reports that the series were made and nothing counted yet.
func (e edge) idle() bool { return e.Connections == 0 && e.Requests == 0 }

// refused reports that nothing came through.
func (e edge) refused() bool { return e.Flags != "" && e.Flags != "-" }

// result explains what became of the connections or requests.
func (e edge) result() string {
	text := flagText(e.Flags)
	if code, err := strconv.Atoi(e.Code); err == nil && code >= 400 {
		if e.refused() {
			return e.Code + ", " + text
		}
		return e.Code
	}
	return text
}

// cells are the columns that follow source and destination.
func (e edge) cells() []string {
	requests := ""
	if e.Requests > 0 {
		requests = fmt.Sprintf("%.0f", e.Requests)
	}
	return []string{e.result(), fmt.Sprintf("%.0f", e.Connections), requests, bytesText(uint64(e.Bytes)), e.Via}
}

var edgeHeader = []string{"SOURCE", "DESTINATION", "SECURITY", "RESULT", "CONNECTIONS", "REQUESTS", "BYTES", "SEEN BY"}

// traffic reads the metrics of ztunnels and waypoints as edges.
func (r *remote) traffic(ctx context.Context) ([]edge, error) {
	b, err := r.backend()
	if err != nil {
		return nil, err
	}
	pages, err := b.ztunnels(ctx)
	if err != nil {
		return nil, err
	}
	bodies, failed := askAll(ctx, pages, "/metrics")
	g := graph{}
	var errs []error
	for _, node := range sortedKeys(pages) {
		err := failed[node]
		if err == nil {
			err = g.add(bodies[node], "")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("metrics of ztunnel %s: %w", node, err))
		}
	}
	errs = append(errs, r.waypointTraffic(ctx, b, g))
	return g.edges(), errors.Join(errs...)
}

func compareEdges(a, b edge) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Via, b.Via),
		cmp.Compare(a.Security, b.Security), cmp.Compare(a.Flags, b.Flags), cmp.Compare(a.Code, b.Code))
}

func getTraffic(cmd *cobra.Command, o *getOptions) (*listing, error) {
	edges, err := o.traffic(cmd.Context())
	if err != nil && len(edges) == 0 {
		return nil, err
	}
	l := &listing{header: edgeHeader, empty: "no traffic yet", events: true}
	for _, e := range edges {
		if !e.idle() {
			l.add([]string{e.Source, e.Destination}, e, append([]string{e.Source, e.Destination, e.Security}, e.cells()...)...)
		}
	}
	return l, err
}

// flagText explains a response flag.
func flagText(flag string) string {
	switch flag {
	case "", "-":
		return "ok"
	case "UAEX":
		return "refused by policy"
	case "FI":
		return "fault injected"
	case "DI":
		return "ok, delayed by a fault"
	case "UO":
		return "limit reached"
	case "SI":
		return "idle too long"
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
