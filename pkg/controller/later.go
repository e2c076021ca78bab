package controller

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// later is what a compilation notes so that changes of pods alone can be compiled into its outcome.
type later struct {
	listed  scoped[string]   // policies that pods list, by key
	bound   scoped[string]   // keys of policies in the pods' Bindings
	counts  scoped[*counted] // statuses that count pods
	peers   map[string]peerLists
	listers map[string]int // pods that list a policy of a PeerAuthentication, by its key

	// What follows is made by prepare.
	ready    bool
	services scoped[*serviceInfo] // by selector
	pods     map[string]int       // in the snapshot, by namespace
	named    map[string]bool      // pods that EndpointSlices name: namespace/name
	at       map[netip.Addr]bool  // addresses that EndpointSlices have
	until    time.Time            // when the objects mean something else; zero: never
}

func newLater() later {
	return later{peers: map[string]peerLists{}, listers: map[string]int{}}
}

// prepare completes what is noted, when it is needed for the first time.
func (c *compiler) prepare() {
	l := &c.later
	if l.ready {
		return
	}
	l.ready = true
	for _, info := range c.services {
		if sel := info.object.Spec.Selector; len(sel) > 0 {
			l.services.add(model.ScopeSelector, info.object.Namespace, sel, info)
		}
	}
	l.pods = map[string]int{}
	for ns, list := range c.pods.all {
		l.pods[ns] = len(list)
	}
	l.named, l.at = map[string]bool{}, map[netip.Addr]bool{}
	for _, o := range c.objs.EndpointSlices {
		for _, e := range o.Value.Endpoints {
			if e.TargetRef != nil {
				l.named[o.Value.Namespace+"/"+e.TargetRef.Name] = true
			}
			for _, a := range addresses(e.Addresses) {
				l.at[a] = true
			}
		}
	}
	l.until = NextExpiry(c.objs, c.cfg.Now)
	c.pods.all, c.pods.byLabel = nil, nil // not kept up to date from here on
}

// ended reports whether a pod is none any more.
func ended(p *corev1.Pod) bool {
	return p == nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
