package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// listing is one `get` result in all its forms.
type listing struct {
	kind   string // of its items, in the plural, as it is said in messages
	header []string
	wide   []string // further columns of -o wide
	items  []item
	empty  string // said instead of an empty table
	events bool   // items come and go: that there are none of a name is no error
}

// item is one object of a listing.
type item struct {
	keys  []string // namespace/name of what it is about: one, or both ends of a connection
	cells []string // as long as header and wide together
	value any      // what -o json and yaml print
}

func (l *listing) add(keys []string, value any, cells ...string) {
	l.items = append(l.items, item{keys: keys, cells: cells, value: value})
}

// key is one object's, for add.
func key(namespace, name string) []string { return []string{namespace + "/" + name} }

// in leaves the items of one namespace.
func (l *listing) in(namespace string) {
	l.items = slices.DeleteFunc(l.items, func(i item) bool {
		return !slices.ContainsFunc(i.keys, func(k string) bool { return strings.HasPrefix(k, namespace+"/") })
	})
	l.empty = "no " + l.kind + " in namespace " + namespace
}

// named leaves the items of the names: namespace/name or name, or else its beginning up to a dash, as pods
// are named after what owns them. It fails on a name that is nobody's.
func (l *listing) named(names []string) error {
	keep := map[int]bool{}
	for _, want := range names {
		found := l.find(func(k, name string) bool { return k == want || name == want })
		if len(found) == 0 {
			found = l.find(func(k, name string) bool { return strings.HasPrefix(k, want+"-") || strings.HasPrefix(name, want+"-") })
		}
		if len(found) == 0 && l.events {
			l.empty = fmt.Sprintf("no %s of %s", l.kind, strings.Join(names, ", "))
			continue
		}
		if len(found) == 0 {
			return fmt.Errorf("no %s are called %q%s", l.kind, want, l.others())
		}
		for _, i := range found {
			keep[i] = true
		}
	}
	var left []item
	for i, it := range l.items {
		if keep[i] {
			left = append(left, it)
		}
	}
	l.items = left
	return nil
}

func (l *listing) find(match func(key, name string) bool) []int {
	var found []int
	for i, it := range l.items {
		if slices.ContainsFunc(it.keys, func(k string) bool { return match(k, k[strings.IndexByte(k, '/')+1:]) }) {
			found = append(found, i)
		}
	}
	return found
}

// others lists what there is, when that is little.
func (l *listing) others() string {
	keys := l.keys()
	switch {
	case len(keys) == 0:
		return ": there are none"
	case len(keys) > 12:
		return fmt.Sprintf("; `weftctl get %s` lists all %d", l.kind, len(keys))
	}
	return ", only " + strings.Join(keys, ", ")
}

func (l *listing) keys() []string {
	var keys []string
	for _, it := range l.items {
		keys = append(keys, it.keys...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (l *listing) values() []any {
	out := make([]any, len(l.items))
	for i, it := range l.items {
		out[i] = it.value
	}
	return out
}

// getOptions are the flags of `get`.
type getOptions struct {
	remote
	namespace string
	all       bool // every namespace, which is the default; people's fingers type it
	output    string
}

// getter makes a listing. With an error it may return the part that could be had.
type getter func(cmd *cobra.Command, o *getOptions) (*listing, error)

func newGet(e *env) *cobra.Command {
	o := &getOptions{}
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Show what the mesh knows: workloads, services, policies, certificates, connections, traffic, waypoints",
		Long: `Shows what controller and ztunnels know now, as a table or for programs. Names choose: namespace/name, name, or the
beginning of a pod's name.
` + whereText,
		Example: `  weftctl get workloads -n shop -o wide
  weftctl get certificates frontend
  weftctl get policies shop/payments-callers -o yaml`,
	}
	o.flags(e, cmd)
	f := cmd.PersistentFlags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "only this namespace (default: all)")
	f.BoolVarP(&o.all, "all-namespaces", "A", false, "all namespaces")
	f.StringVarP(&o.output, "output", "o", "", "wide, json or yaml (default: a table)")
	_ = cmd.RegisterFlagCompletionFunc("namespace", completeNamespaces(&o.remote))
	_ = cmd.RegisterFlagCompletionFunc("output", offerFixed("wide", "json", "yaml"))
	add := func(kind, short string, aliases []string, get getter) {
		cmd.AddCommand(&cobra.Command{
			Use: kind + " [NAME…]", Short: short, Aliases: aliases, Args: cobra.ArbitraryArgs,
			Example:           fmt.Sprintf("  weftctl get %[1]s\n  weftctl get %[1]s -n shop -o json", kind),
			ValidArgsFunction: completeNames(o, get),
			RunE: func(cmd *cobra.Command, names []string) error {
				if err := checkOutput(o.output, "wide", "json", "yaml"); err != nil {
					return err
				}
				l, failed := get(cmd, o)
				if l == nil {
					return failed
				}
				l.kind = kind
				if o.namespace != "" && o.all {
					return &exitError{2, errors.New("-n and -A exclude each other: name one namespace or all")}
				}
				if o.namespace != "" {
					l.in(o.namespace)
				}
				if len(names) > 0 {
					if err := l.named(names); err != nil {
						return err
					}
				}
				return errors.Join(e.printListing(l, o.output), failed)
			},
		})
	}
	add("workloads", "Pods, their identity and how they are reached", []string{"workload", "wl"}, getWorkloads)
	add("services", "Services, their addresses, endpoints and waypoint", []string{"service", "svc"}, getServices)
	add("policies", "Policies and where they are enforced", []string{"policy"}, getPolicies)
	add("waypoints", "Waypoints and what they serve", []string{"waypoint"}, getWaypoints)
	add("certificates", "Certificates that the ztunnels hold, and how long they live", []string{"certificate", "certs"}, getCertificates)
	add("traffic", "Who talked to whom, secured or not, from the ztunnels' metrics", nil, getTraffic)
	add("connections", "Connections that the ztunnels carry now, with both identities", []string{"connection", "conns"}, getConnections)
	add("problems", "Objects that are not in force as written, and why", []string{"problem"}, getProblems)
	return cmd
}

func (e *env) printListing(l *listing, output string) error {
	if output == "json" || output == "yaml" {
		return e.printData(l.values(), output)
	}
	if len(l.items) == 0 {
		fmt.Fprintln(e.stdout, l.empty)
		return nil
	}
	header := l.header
	if output == "wide" {
		header = append(slices.Clone(header), l.wide...)
	}
	t := newTable(header...)
	for _, i := range l.items {
		t.row(i.cells[:len(header)]...)
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
