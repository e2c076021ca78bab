package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

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
