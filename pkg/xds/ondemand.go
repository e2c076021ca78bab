package xds

import (
	"maps"
	"net/netip"

	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/log"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"istio.io/istio/pkg/workloadapi"
)

// aliases serves clients that subscribe to single addresses: by resource name, or by network/IP as
// the messages define it. Such a client gets the resource under the name it asked for.
type aliases struct {
	cache *cache.LinearCache
	find  func(body []byte) []string
	owner map[string]string   // alias → resource name
	names map[string][]string // resource name → its aliases
}

// one answers a client that names single resources. Call with mu held.
func (c *deltaCache) one(r *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (func(), error) {
	if c.single == nil {
		a := &aliases{
			cache: cache.NewLinearCache(c.typeURL, cache.WithLogger(log.LoggerFuncs{})),
			find:  c.names, owner: map[string]string{}, names: map[string][]string{},
		}
		everything := change{update: make(map[string][]byte, len(c.resources))}
		for name, v := range c.resources {
			everything.update[name] = v.resource()
		}
		if err := a.apply(everything); err != nil {
			return nil, err
		}
		c.single = a
	}
	return c.single.cache.CreateDeltaWatch(r, answerAll(r, sub), out)
}

// packed is an encoded message as a message that has no fields but unknown ones, and thus encodes to the
// very same bytes.
func packed(body []byte) cachetypes.Resource {
	out := &emptypb.Empty{}
	out.ProtoReflect().SetUnknown(body)
	return out
}

// apply brings the aliases up to date with a change of the addresses.
func (a *aliases) apply(c change) error {
	out := change{}
	set := make(map[string]cachetypes.Resource, len(c.update))
	for _, name := range c.remove {
		out.remove = append(out.remove, name)
		a.drop(name, &out)
	}
	for name := range c.update {
		a.drop(name, &out)
	}
	for name, body := range c.update {
		res := packed(body)
		set[name] = res
		for _, alias := range a.find(body) {
			a.owner[alias] = name
			a.names[name] = append(a.names[name], alias)
			set[alias] = res
		}
	}
	// An address that moved from one resource to another was dropped and then set.
	gone := out.remove[:0]
	for _, name := range out.remove {
		if _, there := set[name]; !there {
			gone = append(gone, name)
		}
	}
	return a.cache.UpdateResources(set, gone)
}

// drop forgets the aliases of a resource, but not those that another resource has taken over.
func (a *aliases) drop(name string, out *change) {
	for _, alias := range a.names[name] {
		if a.owner[alias] == name {
			delete(a.owner, alias)
			out.remove = append(out.remove, alias)
		}
	}
	delete(a.names, name)
}

// addressesOf lists network/IP of a resource. Pods on the host's network share its address, so it names none of them.
func addressesOf(body []byte) []string {
	addr := &workloadapi.Address{}
	if proto.Unmarshal(body, addr) != nil {
		return nil // we encoded it ourselves; without alias it is still found by its name
	}
	var out []string
	add := func(network string, b []byte) {
		if ip, ok := netip.AddrFromSlice(b); ok {
			out = append(out, network+"/"+ip.String())
		}
	}
	if w := addr.GetWorkload(); w != nil && w.GetNetworkMode() != workloadapi.NetworkMode_HOST_NETWORK {
		for _, b := range w.GetAddresses() {
			add(w.GetNetwork(), b)
		}
	}
	for _, na := range addr.GetService().GetAddresses() {
		add(na.GetNetwork(), na.GetAddress())
	}
	return out
}

// answerAll makes the linear cache answer also for names that do not exist: as removed. It would stay
// silent, and a client that waits for "what is this address" would wait for ever.
func answerAll(r *cache.DeltaRequest, sub cache.Subscription) cache.Subscription {
	known := sub.ReturnedResources()
	var asked map[string]string
	if _, all := known[place]; all { // it has subscribed to everything until now; what it names is sent again
		known = nil
		asked = map[string]string{}
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		if _, ok := known[name]; ok || name == "*" {
			continue
		}
		if asked == nil {
			asked = maps.Clone(known)
			if asked == nil {
				asked = map[string]string{}
			}
		}
		asked[name] = "" // an old version of it: it changed, or it is gone
	}
	if asked == nil {
		return sub
	}
	return askedFor{Subscription: sub, known: asked}
}

type askedFor struct {
	cache.Subscription
	known map[string]string
}

func (s askedFor) ReturnedResources() map[string]string { return s.known }
