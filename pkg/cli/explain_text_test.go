package cli

import "testing"

func TestPoliciesAreCalledAsTheyWereWritten(t *testing.T) {
	for key, want := range map[string][3]string{ // kind, object, in a sentence
		"shop/callers":                         {"AuthorizationPolicy", "shop/callers", "policy shop/callers"},
		"shop/callers_behind_wp+other":         {"AuthorizationPolicy", "shop/callers", "policy shop/callers"},
		"shop/peerauthentication_strict":       {"PeerAuthentication", "shop/strict", "PeerAuthentication shop/strict"},
		"shop/peerauthentication_ports_listed": {"PeerAuthentication", "shop/ports", "PeerAuthentication shop/ports"},
		"shop/peerauthentication_default_mesh": {"PeerAuthentication", "weft-system/default", "PeerAuthentication weft-system/default"},
		"shop/requestauthentication_login":     {"RequestAuthentication", "shop/login", "RequestAuthentication shop/login"},
		"shop/waypoint_wp":                     {"Gateway", "shop/wp", "policy shop/waypoint_wp"},
		"shop/waypoint_wp_dryrun":              {"Gateway", "shop/wp", "policy shop/waypoint_wp_dryrun"},
	} {
		kind, object := objectOf(key)
		if got := [3]string{kind, object, policyText(key)}; got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}
