package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// listing is one `get` result in all its forms.
type listing struct {
	header []string
	wide   []string   // further columns of -o wide
	rows   [][]string // as long as header and wide together
	values any        // what -o json and yaml print
	empty  string     // said instead of an empty table
}

func (l *listing) add(cells ...string) { l.rows = append(l.rows, cells) }

// getOptions are the flags of `get`.
type getOptions struct {
	remote
	namespace string
	output    string
}

// keep reports whether an object of the namespace is asked for.
func (o *getOptions) keep(namespace string) bool {
	return o.namespace == "" || o.namespace == namespace
}

type getter func(cmd *cobra.Command, o *getOptions) (*listing, error)

func newGet(e *env) *cobra.Command {
	o := &getOptions{}
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Show what the mesh knows: workloads, services, policies, certificates, connections, traffic, waypoints",
	}
	o.flags(cmd)
	f := cmd.PersistentFlags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "only this namespace")
	f.StringVarP(&o.output, "output", "o", "", "wide, json or yaml (default: a table)")
	add := func(use, short string, aliases []string, g getter) {
		cmd.AddCommand(&cobra.Command{
			Use: use, Short: short, Aliases: aliases, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				l, err := g(cmd, o)
				if err != nil {
					return err
				}
				return e.printListing(l, o.output)
			},
		})
	}
	add("workloads", "Pods, their identity and how they are reached", []string{"workload", "wl"}, getWorkloads)
	add("services", "Services, their addresses, endpoints and waypoint", []string{"service", "svc"}, getServices)
	add("policies", "Policies and where they are enforced", []string{"policy"}, getPolicies)
	add("waypoints", "Waypoints and what they serve", []string{"waypoint"}, getWaypoints)
	add("certificates", "Certificates that the ztunnels hold", []string{"certificate", "certs"}, getCertificates)
	add("traffic", "Who talked to whom, secured or not, from the ztunnels' metrics", nil, getTraffic)
	add("connections", "Connections that the ztunnels carry now", []string{"connection", "conns"}, getConnections)
	return cmd
}

func (e *env) printListing(l *listing, output string) error {
	switch output {
	case "json":
		data, err := json.MarshalIndent(l.values, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "%s\n", data)
		return err
	case "yaml":
		data, err := yaml.Marshal(l.values)
		if err != nil {
			return err
		}
		_, err = e.stdout.Write(data)
		return err
	case "", "wide":
	default:
		return &exitError{2, fmt.Errorf("-o %s: want wide, json or yaml", output)}
	}
	if len(l.rows) == 0 {
		fmt.Fprintln(e.stdout, l.empty)
		return nil
	}
	header := l.header
	if output == "wide" {
		header = append(append([]string(nil), header...), l.wide...)
	}
	t := newTable(header...)
	for _, r := range l.rows {
		t.row(r[:len(header)]...)
	}
	t.print(e.stdout)
	return nil
}

// join writes a list, or "-" for none.
func join[T any](list []T, text func(T) string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ",")
}
