package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/ca"
)

// fromZtunnels asks every ztunnel for one page. The error tells of those that did not answer; the pages are
// those of the others, nil where there are none.
func fromZtunnels[T any](ctx context.Context, r *remote, path string) (byNode map[string][]T, err error) {
	b, err := r.backend()
	if err != nil {
		return nil, err
	}
	pages, err := b.ztunnels(ctx)
	if err != nil {
		return nil, err
	}
	bodies, failed := askAll(ctx, pages, path)
	var errs []error
	for _, node := range sortedKeys(pages) {
		var list []T
		err := failed[node]
		if err == nil {
			err = decodePage(bodies[node], path, &list)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ztunnel %s: %w", node, err))
			continue
		}
		if byNode == nil {
			byNode = map[string][]T{}
		}
		byNode[node] = list
	}
	return byNode, errors.Join(errs...)
}

// certificateView is a certificate and who holds it.
type certificateView struct {
	Node string `json:"node"`
	ca.Status
}

func getCertificates(cmd *cobra.Command, o *getOptions) (*listing, error) {
	byNode, err := fromZtunnels[ca.Status](cmd.Context(), &o.remote, "/certificates")
	if byNode == nil {
		return nil, err
	}
	l := &listing{
		header: []string{"NODE", "IDENTITY", "STATE", "VALID FOR", "RENEWED IN"}, wide: []string{"SERIAL", "ERROR"},
		empty: "no certificates: no pod is enrolled",
	}
	now := time.Now()
	for _, node := range sortedKeys(byNode) {
		for _, c := range byNode[node] {
			l.add(key(c.Identity.Namespace, c.Identity.ServiceAccount), certificateView{node, c},
				node, c.Identity.String(), string(c.State), until(now, c.NotAfter), until(now, c.NextTry), c.Serial, c.Error)
		}
	}
	return l, err
}

// until writes how long it is until a moment.
func until(now, then time.Time) string {
	switch {
	case then.IsZero():
		return "-"
	case then.Before(now):
		return "over"
	}
	return age(then.Sub(now))
}

// connectionView is one connection that a ztunnel carries, as its admin page shows it.
type connectionView struct {
	Node      string          `json:"node"`
	Pod       string          `json:"pod"`
	Direction json.RawMessage `json:"direction"`
	Since     time.Time       `json:"since"`
	Source    string          `json:"source"`
	SourceID  string          `json:"sourceIdentity,omitempty"`
	Dest      string          `json:"destination"`
	DestID    string          `json:"destinationIdentity,omitempty"`
	Service   string          `json:"service,omitempty"`
	Waypoint  string          `json:"waypoint,omitempty"`
	Security  string          `json:"security"`
	Sent      uint64          `json:"bytesSent"`
	Received  uint64          `json:"bytesReceived"`
}

func getConnections(cmd *cobra.Command, o *getOptions) (*listing, error) {
	byNode, err := fromZtunnels[connectionView](cmd.Context(), &o.remote, "/connections")
	if byNode == nil {
		return nil, err
	}
	l := &listing{
		header: []string{"NODE", "DIRECTION", "SOURCE", "SOURCE IDENTITY", "DESTINATION", "DESTINATION IDENTITY", "SECURITY", "SENT", "RECEIVED", "AGE"},
		wide:   []string{"POD", "SERVICE", "WAYPOINT"}, empty: "no connections now", events: true,
	}
	now := time.Now()
	for _, node := range sortedKeys(byNode) {
		for _, c := range byNode[node] {
			c.Node = node
			l.add([]string{c.Pod}, c, node, strings.Trim(string(c.Direction), `"`), c.Source, principal(c.SourceID), c.Dest, principal(c.DestID), c.Security,
				bytesText(c.Sent), bytesText(c.Received), age(max(0, now.Sub(c.Since))), c.Pod, c.Service, c.Waypoint)
		}
	}
	return l, err
}

// principal is a SPIFFE identity as policies write it.
func principal(id string) string { return strings.TrimPrefix(id, "spiffe://") }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// bytesText writes a size in its largest unit.
func bytesText(n uint64) string {
	const k = 1024
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.1f KiB", float64(n)/k)
	case n < k*k*k:
		return fmt.Sprintf("%.1f MiB", float64(n)/k/k)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/k/k/k)
}
