package controller

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// Compile makes the mesh's configuration of objects, and says what became of each. It is pure: the same
// objects give the same result, which is new and belongs to the caller.
func Compile(objs *source.Objects, cfg Config) (*model.Snapshot, []Status) {
	c := newCompiler(objs, cfg)
	c.compile()
	return c.snap, c.finish()
}

// compiler holds one compilation in the making.
type compiler struct {
	cfg      Config
	objs     *source.Objects
	snap     *model.Snapshot
	statuses map[string]*Status

	namespaces map[string]*corev1.Namespace
	nodes      map[string]*corev1.Node
	pods       podIndex
	gateways   map[string]*gateway     // by namespace/name
	services   map[string]*serviceInfo // by namespace/name
	served     []*serviceInfo          // those that a waypoint serves, by name
	granted    grants
	filters    map[string]*httpFilter       // that rules may name, by namespace/name
	claims     map[string]string            // namespace/name of the policy that has a target, by kind@target
	callers    map[*model.Workload]callers  // waypoints that call a workload
	offers     map[string][]*serviceInfo    // services by namespace; empty without waypoints
	callees    map[string][]*model.Workload // what waypoints could call, by namespace; empty without waypoints
	later      later                        // for changes of pods alone
}

// serviceInfo is a service with what compiling it found out.
type serviceInfo struct {
	object *corev1.Service
	model  *model.Service
	use    *waypointUse // nil: no waypoint is asked for
	pods   []*podInfo   // its endpoints
	reach  []reach      // services that its routes lead to
	called bool         // a waypoint calls its endpoints
	fixed  bool         // something beyond selectors depends on which its endpoints are
}

func newCompiler(objs *source.Objects, cfg Config) *compiler {
	cfg = cfg.withDefaults()
	c := &compiler{
		cfg: cfg, objs: objs, snap: model.NewSnapshot(), statuses: map[string]*Status{},
		namespaces: map[string]*corev1.Namespace{}, nodes: map[string]*corev1.Node{},
		gateways: map[string]*gateway{}, services: map[string]*serviceInfo{}, claims: map[string]string{},
		callers: map[*model.Workload]callers{}, callees: map[string][]*model.Workload{}, offers: map[string][]*serviceInfo{},
	}
	c.later = newLater()
	c.snap.TrustDomain, c.snap.ClusterDomain = cfg.TrustDomain, cfg.ClusterDomain
	for _, n := range objs.Namespaces {
		c.namespaces[n.Value.Name] = n.Value
	}
	for _, n := range objs.Nodes {
		c.nodes[n.Value.Name] = n.Value
	}
	return c
}

// compile builds what the next step looks at: waypoints before what is bound to them, endpoints before
// the policies that bind to workloads, routes before the policies that follow them.
func (c *compiler) compile() {
	c.compileRanges()
	c.compileGateways()
	c.compileWorkloads()
	c.compileServices()
	c.compileSlices()
	c.finishGateways()
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		if info := c.services[name]; info.served() {
			c.served = append(c.served, info)
		}
	}
	c.granted = newGrants(c.objs.ReferenceGrants)
	c.compileRoutes()
	c.compileReach()
	c.compilePeerAuthentications()
	c.compileAuthorization()
	c.compileUnread()
	c.finishBindings()
	c.compileFaults()
	c.compilePolicies()
	for _, w := range c.snap.Workloads.All() {
		sortUnique(&w.Policies)
	}
}

// namespaceLabel is a label of a namespace, "" where there is none.
func (c *compiler) namespaceLabel(namespace, label string) string {
	if n := c.namespaces[namespace]; n != nil {
		return n.Labels[label]
	}
	return ""
}

// ambient reports whether a pod is to be in the mesh: its own label decides, else its namespace's.
func (c *compiler) ambient(p *corev1.Pod) bool {
	mode, own := p.Labels[api.LabelMode]
	if !own {
		mode = c.namespaceLabel(p.Namespace, api.LabelMode)
	}
	return mode == api.ModeAmbient && !p.Spec.HostNetwork
}
