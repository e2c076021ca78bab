package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// matchToken is what the waypoint's filter would say of the end user's token. Whether a token is good only the
// waypoint can tell, so one that was given with --header leaves it open; without any, nobody has claims.
func (x *explainer) matchToken(m *model.TokenMatch, c l7Call, deny bool) truth {
	switch {
	case x.target.plainTCP() && deny:
		return yes
	case x.target.plainTCP():
		return no
	case len(c.header) > 0:
		return unknown
	case c.method == "" && c.path == "":
		return unknown // nothing was said of the request
	case len(m.Principals) > 0, slices.ContainsFunc(m.Claims, func(c model.ClaimMatch) bool { return len(c.Values) > 0 }):
		return no
	}
	return yes
}

// matchPaths compares as the waypoint does: loosely what refuses, strictly what lets pass.
func matchPaths(path string, op model.L7Operation, deny bool) truth {
	path, _, _ = strings.Cut(path, "?")
	is := func(loose bool) func(model.StringMatch) bool {
		return func(m model.StringMatch) bool {
			re, err := regexp.Compile("^(?:" + policy.PathPattern(m, loose) + ")$")
			return err == nil && re.MatchString(path)
		}
	}
	switch {
	case len(op.Paths)+len(op.NotPaths) == 0:
		return yes
	case path == "":
		return unknown
	case len(op.Paths) > 0 && !slices.ContainsFunc(op.Paths, is(deny)), slices.ContainsFunc(op.NotPaths, is(!deny)):
		return no
	}
	return yes
}
