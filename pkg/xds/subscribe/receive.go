package subscribe

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// receive applies a response. What can be read is applied even when something else in it cannot;
// refusal then names what was left at its last good value. err means that nothing was applied.
func (c *Client) receive(resp *response) (refusal, err error) {
	sub := c.types[resp.typeURL]
	if sub == nil {
		return wire.Unreadable("type %q was not subscribed to", resp.typeURL), nil
	}
	d := Delta{Initial: !sub.applied}
	got := make(map[string]string, len(resp.resources)) // versions of what was read
	var bad []error
	unread := map[string]bool{}
	shared := sub.shared
	if shared == nil {
		shared = &wire.Shared{}
	}
	for i := range resp.resources {
		r := &resp.resources[i]
		name, err := d.add(resp.typeURL, r, shared)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", r.name, err))
			unread[r.name] = true
			c.standIn(sub, &d, resp.typeURL, r.name, err)
			continue
		}
		got[name] = r.version
	}
	removed := resp.removed
	if sub.fresh {
		// The first response on a stream is complete, for policies never come in parts: what stood in for an unreadable
		// policy that is neither there nor readable now has gone while we were away.
		for name := range sub.stand {
			if _, ok := got[name]; !ok && !unread[name] {
				removed = append(removed, name)
			}
		}
	}
	switch resp.typeURL {
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
	sub.commit(got, removed, unread, resp.typeURL == wire.TypeAuthorization)
	if resp.typeURL == wire.TypeAddress && wire.MoreFollows(resp.version) {
		sub.shared = shared
		return wire.Summary(bad), nil
	}
	sub.shared, sub.applied = nil, true
	c.markSynced()
	return wire.Summary(bad), nil
}

// commit records what was applied.
func (s *subscription) commit(got map[string]string, removed []string, unread map[string]bool, policies bool) {
	for name, version := range got {
		s.versions.set(name, version)
		delete(s.stand, name)
	}
	for _, name := range removed {
		s.versions.remove(name)
		delete(s.stand, name)
	}
	for name := range unread {
		if policies && !s.versions.has(name) {
			s.stand[name] = true
		}
	}
	s.fresh = false
}

// standIn puts a denying policy in the place of one that cannot be read and was not known before.
func (c *Client) standIn(sub *subscription, d *Delta, typeURL, name string, err error) {
	if sub.versions.has(name) || typeURL != wire.TypeAuthorization {
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
func (d *Delta) add(typeURL string, r *resource, shared *wire.Shared) (name string, err error) {
	if r.content == nil {
		return "", wire.Unreadable("no content")
	}
	if r.typeURL != typeURL {
		return "", wire.Unreadable("it is a %s in a response of %s", r.typeURL, typeURL)
	}
	switch typeURL {
	case wire.TypeAuthorization:
		return d.addPolicy(r)
	case wire.TypeRange:
		return d.addRange(r)
	}
	w, s, err := shared.DecodeResource(r.content)
	switch {
	case err != nil:
		return "", err
	case w != nil && w.UID == r.name:
		d.Workloads = append(d.Workloads, w)
		return w.UID, nil
	case s != nil && s.Key() == r.name:
		d.Services = append(d.Services, s)
		return r.name, nil
	}
	return "", wire.Unreadable("its content has another name")
}

func (d *Delta) addPolicy(r *resource) (name string, err error) {
	a := &security.Authorization{}
	if err := proto.Unmarshal(r.content, a); err != nil {
		return "", wire.Unreadable("%w", err)
	}
	p, err := wire.DecodePolicy(a)
	if err != nil {
		return "", err
	}
	if p.Key() != r.name {
		return "", wire.Unreadable("it names itself %s", p.Key())
	}
	d.Policies = append(d.Policies, p)
	return r.name, nil
}

func (d *Delta) addRange(r *resource) (name string, err error) {
	v, err := wire.DecodeRange(r.content)
	if err != nil {
		return "", err
	}
	if v.Key() != r.name {
		return "", wire.Unreadable("it is of %s", v.Key())
	}
	d.Ranges = append(d.Ranges, v)
	return r.name, nil
}

func (d *Delta) removeRanges(names []string) {
	for _, name := range names {
		if p, err := netip.ParsePrefix(name); err == nil { // nothing else was ever applied
			d.RemovedRanges = append(d.RemovedRanges, p)
		}
	}
}
