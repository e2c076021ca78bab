package subscribe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// receive applies a response. What can be read is applied even when something else in it cannot;
// refusal then names what was left at its last good value. err means that nothing was applied.
func (c *Client) receive(resp *discoveryv3.DeltaDiscoveryResponse) (refusal, err error) {
	sub := c.types[resp.GetTypeUrl()]
	if sub == nil {
		return wire.Unreadable("type %q was not subscribed to", resp.GetTypeUrl()), nil
	}
	d := Delta{Initial: !sub.applied}
	got := map[string]string{} // versions of what was read
	var bad []error
	unread := map[string]bool{}
	for _, r := range resp.GetResources() {
		name, err := d.add(resp.GetTypeUrl(), r)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", r.GetName(), err))
			unread[r.GetName()] = true
			c.standIn(sub, &d, resp.GetTypeUrl(), r.GetName(), err)
			continue
		}
		got[name] = r.GetVersion()
	}
	removed := slices.Clone(resp.GetRemovedResources())
	if sub.fresh {
		// The first response on a stream is complete: what stood in for an unreadable policy that
		// is neither there nor readable now has gone while we were away.
		for name := range sub.stand {
			if _, ok := got[name]; !ok && !unread[name] {
				removed = append(removed, name)
			}
		}
	}
	switch resp.GetTypeUrl() {
	case wire.TypeAddress:
		d.RemovedAddresses = removed
	case wire.TypeRange:
		d.removeRanges(removed)
	default:
		d.RemovedPolicies = removed
	}
	if err := c.o.Handler.Apply(d); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	sub.commit(got, removed, unread, resp.GetTypeUrl() == wire.TypeAuthorization)
	c.markSynced()
	return wire.Summary(bad), nil
}

// commit records what was applied.
func (s *subscription) commit(got map[string]string, removed []string, unread map[string]bool, policies bool) {
	for name, version := range got {
		s.versions[name] = version
		delete(s.stand, name)
	}
	for _, name := range removed {
		delete(s.versions, name)
		delete(s.stand, name)
	}
	for name := range unread {
		if _, good := s.versions[name]; policies && !good {
			s.stand[name] = true
		}
	}
	s.applied, s.fresh = true, false
}

// standIn puts a denying policy in the place of one that cannot be read and was not known before.
func (c *Client) standIn(sub *subscription, d *Delta, typeURL, name string, err error) {
	if _, good := sub.versions[name]; good || typeURL != wire.TypeAuthorization {
		return
	}
	if ns, n, ok := strings.Cut(name, "/"); ok && n != "" {
		d.Policies = append(d.Policies, wire.DenyAll(ns, n, err))
	}
}

func (c *Client) markSynced() {
	select {
	case <-c.synced:
		return
	default:
	}
	for t, s := range c.types {
		if !s.applied && t != wire.TypeRange { // which controllers of other makers do not have
			return
		}
	}
	close(c.synced)
}

// add reads one resource into the delta. The name it returns is the value's own string, not the
// response's, so that the many names are kept once.
func (d *Delta) add(typeURL string, r *discoveryv3.Resource) (name string, err error) {
	if r.GetResource() == nil {
		return "", wire.Unreadable("no content")
	}
	if got := r.GetResource().GetTypeUrl(); got != typeURL {
		return "", wire.Unreadable("it is a %s in a response of %s", got, typeURL)
	}
	switch typeURL {
	case wire.TypeAuthorization:
		return d.addPolicy(r)
	case wire.TypeRange:
		return d.addRange(r)
	}
	a := &workloadapi.Address{}
	if err := proto.Unmarshal(r.GetResource().GetValue(), a); err != nil {
		return "", wire.Unreadable("%w", err)
	}
	w, s, err := wire.DecodeAddress(a)
	switch {
	case err != nil:
		return "", err
	case w != nil && w.UID == r.GetName():
		d.Workloads = append(d.Workloads, w)
		return w.UID, nil
	case s != nil && s.Key() == r.GetName():
		d.Services = append(d.Services, s)
		return r.GetName(), nil
	}
	return "", wire.Unreadable("its content has another name")
}

func (d *Delta) addPolicy(r *discoveryv3.Resource) (name string, err error) {
	a := &security.Authorization{}
	if err := proto.Unmarshal(r.GetResource().GetValue(), a); err != nil {
		return "", wire.Unreadable("%w", err)
	}
	p, err := wire.DecodePolicy(a)
	if err != nil {
		return "", err
	}
	if p.Key() != r.GetName() {
		return "", wire.Unreadable("it names itself %s", p.Key())
	}
	d.Policies = append(d.Policies, p)
	return r.GetName(), nil
}

func (d *Delta) addRange(r *discoveryv3.Resource) (name string, err error) {
	v, err := wire.DecodeRange(r.GetResource().GetValue())
	if err != nil {
		return "", err
	}
	if v.Key() != r.GetName() {
		return "", wire.Unreadable("it is of %s", v.Key())
	}
	d.Ranges = append(d.Ranges, v)
	return r.GetName(), nil
}

func (d *Delta) removeRanges(names []string) {
	for _, name := range names {
		if p, err := netip.ParsePrefix(name); err == nil { // nothing else was ever applied
			d.RemovedRanges = append(d.RemovedRanges, p)
		}
	}
}
