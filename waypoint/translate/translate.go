package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// Names of what the launcher's bootstrap provides and the translated resources refer to.
const (
	// LauncherCluster is the launcher's own gRPC socket: SDS secrets and access logs.
	LauncherCluster = "launcher"
	// SecretIdentity and SecretTrust name the waypoint's certificate and the mesh's roots.
	SecretIdentity = "identity"
	SecretTrust    = "trust"
)

// Config is what the snapshot does not say. The zero value is usable.
type Config struct {
	// Listen are the addresses the hbone listener binds. Default 0.0.0.0 alone.
	Listen []netip.Addr
	// Port of the hbone listener. Default 15008.
	Port uint16
	// Self is the waypoint's own pod; its node and locality decide which endpoints are near. nil: what all
	// its pods that are ready have in common does.
	Self *model.Workload
	// EndpointPort is the HBONE port of the pods behind. Default 15008.
	EndpointPort uint16
	// NoAccessLog leaves out the access log stream to the launcher, and with it the request metrics.
	NoAccessLog bool
	// KeepEscapedSlashes passes %2F in paths on as it is. By default such a request is redirected to its
	// unescaped form, for else it would slip past policies by path.
	KeepEscapedSlashes bool
	// Refused are objects that Envoy refused, and why: each is replaced by what fails closed. A route
	// answers 500, a policy denies all, a fault is left out, a service or workload is not served.
	Refused map[Source]string
	// Lately are the targets, by what ServerNames calls them, that were led by server names until a moment ago:
	// clients have connected then whose first bytes are still to come.
	Lately map[string]bool
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = []netip.Addr{netip.IPv4Unspecified()}
	}
	if c.Port == 0 {
		c.Port = 15008
	}
	if c.EndpointPort == 0 {
		c.EndpointPort = 15008
	}
	return c
}

// Translate makes the configuration of the waypoint with the given key (namespace/name of its Gateway).
// An unknown key gives the configuration of a waypoint that serves nothing.
func Translate(snap *model.Snapshot, key string, cfg Config) (*Resources, []Problem) {
	b := &builder{snap: snap, cfg: cfg.withDefaults(), res: newResources(), assigned: map[string]string{}, hashes: map[string]*model.Hash{}, tunnels: map[string]bool{},
		logs: map[string]*model.Attachment{}}
	b.waypoint = snap.Waypoints[key]
	if b.waypoint == nil {
		ns, name, _ := strings.Cut(key, "/")
		b.waypoint = &model.Waypoint{Namespace: ns, Name: name, TrustDomain: snap.TrustDomain, ServiceAccount: name}
	}
	b.index()
	b.near = b.vicinity()
	targets := b.targets()
	targets = slices.DeleteFunc(targets, func(t *target) bool { return len(t.vips) == 0 })
	for _, t := range targets {
		b.target(t)
	}
	b.res.Listeners = b.listeners()
	b.res.Clusters = append(b.res.Clusters, b.fixedClusters()...)
	b.res.Routes = append(b.res.Routes, b.connectTable(targets), b.sniTable(targets))
	b.res.sort()
	slices.SortFunc(b.problems, func(x, y Problem) int {
		return strings.Compare(x.Source.String()+x.Message, y.Source.String()+y.Message)
	})
	return b.res, slices.Compact(b.problems)
}

// A builder holds one translation in the making.
type builder struct {
	snap     *model.Snapshot
	cfg      Config
	waypoint *model.Waypoint
	near     vicinity
	res      *Resources
	problems []Problem

	assigned  map[string]string               // names of load assignments, by the cluster already made
	workloads map[string][]*model.Workload    // by Service.Key(), sorted by UID
	routes    map[string][]*model.Route       // by Service.Key(), sorted by age and name; of requests
	routesL4  map[string][]*model.Route       // the same, of connections
	policies  map[string][]*model.L7Policy    // by Service.Key(), "" for the whole waypoint; sorted by key
	faults    map[model.Target][]*model.Fault // sorted by key

	attachments attachments // those in force
	refused     attachments // those that Envoy refused

	subsetsOf map[string]*clusterSubsets // by cluster
	hashes    map[string]*model.Hash     // of clusters that choose by one
	tunnels   map[string]bool            // clusters like tunnel that were made already

	logs     map[string]*model.Attachment // further access logs that routes write to, by namespace/name
	collects **model.Attachment           // of collector; nil before it was asked
}

func (b *builder) problem(s Source, format string, args ...any) {
	b.problems = append(b.problems, Problem{Source: s, Message: fmt.Sprintf(format, args...)})
}

// index sorts the snapshot's objects by the service they concern.
func (b *builder) index() {
	b.indexAttachments()
	b.indexSubsets()
	b.workloads = map[string][]*model.Workload{}
	for _, w := range b.snap.Workloads.Sorted() {
		for svc := range w.Services {
			b.workloads[svc] = append(b.workloads[svc], w)
		}
	}
	b.routes, b.routesL4 = map[string][]*model.Route{}, map[string][]*model.Route{}
	for _, r := range sorted(b.snap.Routes) {
		if r.L4() {
			b.routesL4[r.Service] = append(b.routesL4[r.Service], r)
		} else {
			b.routes[r.Service] = append(b.routes[r.Service], r)
		}
	}
	for _, rs := range b.routesL4 {
		slices.SortStableFunc(rs, compareAge)
	}
	for _, rs := range b.routes {
		slices.SortStableFunc(rs, compareAge)
	}
	b.policies = map[string][]*model.L7Policy{}
	for _, p := range sorted(b.snap.L7Policies) {
		if p.Workloads {
			continue // see layers.go
		}
		// Without any target a policy is for every waypoint of its namespace.
		if p.Service != "" || p.Waypoint == b.waypoint.Key() || p.Waypoint == "" && p.Namespace == b.waypoint.Namespace {
			b.policies[p.Service] = append(b.policies[p.Service], p)
		}
	}
	b.faults = map[model.Target][]*model.Fault{}
	for _, f := range sorted(b.snap.Faults) {
		if why, bad := b.cfg.Refused[faultSource(f)]; bad {
			b.problem(faultSource(f), "not in force, Envoy refuses it: %s", why)
			continue
		}
		b.faults[f.Target] = append(b.faults[f.Target], f)
	}
}

func serviceSource(s *model.Service) Source { return Source{"Service", s.Namespace, s.Name} }
func routeSource(r *model.Route) Source     { return Source{r.Kind, r.Namespace, r.Name} }
func policySource(p *model.L7Policy) Source {
	return Source{"AuthorizationPolicy", p.Namespace, p.Name}
}
func faultSource(f *model.Fault) Source       { return Source{"Fault", f.Namespace, f.Name} }
func workloadSource(w *model.Workload) Source { return Source{"Workload", w.Namespace, w.Name} }

// target makes everything that one address:port needs besides its row in the CONNECT table.
func (b *builder) target(t *target) {
	b.cluster(t)
	if t.app == model.AppUnknown { // also where something makes it more than sniffed: there are connections whose first bytes are still to come
		b.autoClusters(t)
	}
	if t.kind == kindTCP || t.kind == kindTLS {
		return
	}
	rc := b.routeConfiguration(t)
	b.res.Routes = append(b.res.Routes, rc.config)
	b.res.own(resource.RouteType, rc.config.Name, rc.owners...)
	for _, vip := range t.vips {
		b.res.Scopes = append(b.res.Scopes, scope(t, vip))
		b.res.own(resource.ScopedRouteType, scopeName(t, vip), t.source)
	}
}
