package controller

import (
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

const reasonUnreadable = "Unreadable"

// compileUnread puts a refusal in the place of each AuthorizationPolicy that never was good: whoever wrote it
// meant to close something, and a new policy that is silently left out leaves it open.
func (c *compiler) compileUnread() {
	for _, u := range c.objs.Unread {
		o := u.AuthorizationPolicy
		if o == nil {
			continue
		}
		p := &authPolicy{compiler: c, object: o, status: c.status("AuthorizationPolicy", o, u.Origin), action: model.Deny, unread: true}
		effect := "all calls to its target are refused"
		if o.Spec.DryRun {
			effect = "in dry run it objects to all calls"
		}
		p.status.set(conditionAccepted, false, reasonUnreadable, "%s; there is no earlier version that was good, so %s until it is corrected or removed", u.Why, effect)
		p.status.set(conditionEnforced, false, reasonUnreadable, "%s", effect)
		p.bad = append(p.bad, "it cannot be read ("+u.Why+")")
		if len(o.Spec.TargetRefs) > 0 {
			p.targeted()
		} else {
			p.atZtunnel()
		}
	}
}

// peerAuthentications lists those that count, with STRICT ones in the place of those that never were good.
func (c *compiler) peerAuthentications() []source.Object[api.PeerAuthentication] {
	out := slices.Clone(c.objs.PeerAuthentications)
	for _, u := range c.objs.Unread {
		if u.PeerAuthentication == nil {
			continue
		}
		strict := *u.PeerAuthentication
		o := &strict
		o.Spec.MTLS.Mode = api.ModeStrict
		out = append(out, source.Object[api.PeerAuthentication]{Origin: u.Origin, Value: o})
		c.status("PeerAuthentication", o, u.Origin).set(conditionAccepted, false, reasonUnreadable,
			"%s; there is no earlier version that was good, so it is taken for STRICT until it is corrected or removed", u.Why)
	}
	return out
}

// requestAuthentications lists those that count. In the place of those that never were good stand some that
// require a token and believe nobody's.
func (c *compiler) requestAuthentications() []source.Object[api.RequestAuthentication] {
	out := slices.Clone(c.objs.RequestAuthentications)
	for _, u := range c.objs.Unread {
		if u.RequestAuthentication == nil {
			continue
		}
		nobody := *u.RequestAuthentication
		nobody.Spec.Required, nobody.Spec.Providers = true, []api.TokenProvider{{Issuer: "nobody"}}
		out = append(out, source.Object[api.RequestAuthentication]{Origin: u.Origin, Value: &nobody})
		c.status("RequestAuthentication", &nobody, u.Origin).set(conditionAccepted, false, reasonUnreadable,
			"%s; there is no earlier version that was good, so all requests to its target are refused until it is corrected or removed", u.Why)
	}
	return out
}
