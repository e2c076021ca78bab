package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
)

// lookup finds the kind of a document. Both results nil: somebody else's kind, which is none of ours.
func lookup(apiVersion, name string) (*kind, *Problem) {
	group, version, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		group, version = "", apiVersion
	}
	var names, sameName []string
	for _, k := range kinds {
		if k.name == name {
			sameName = append(sameName, k.apiVersion())
		}
		if k.group != group {
			continue
		}
		names = append(names, k.name)
		if k.name != name {
			continue
		}
		if slices.Contains(k.versions, version) {
			return k, nil
		}
		return nil, &Problem{Severity: Error, Path: "apiVersion", Message: fmt.Sprintf("%s has no version %q", name, version),
			Suggestion: "write apiVersion: " + k.apiVersion()}
	}
	if slices.Contains(ignored[group], name) {
		return nil, nil
	}
	if len(sameName) > 0 {
		return nil, &Problem{Severity: Error, Path: "apiVersion", Message: fmt.Sprintf("%s has no kind %s", apiVersion, name),
			Suggestion: "write apiVersion: " + strings.Join(sameName, " or ")}
	}
	if len(names) > 0 { // a group that we know
		p := &Problem{Severity: Error, Path: "kind", Message: fmt.Sprintf("unknown kind %q in %s", name, apiVersion)}
		if s := nearest(name, append(names, ignored[group]...)); s != "" {
			p.Suggestion = "did you mean " + s + "?"
		} else if group == api.Group {
			p.Suggestion = "known are " + strings.Join(names, ", ")
		}
		return nil, p
	}
	if g := nearest(group, []string{gatewayGroup, api.Group, "apps", "discovery.k8s.io"}); g != "" {
		return nil, &Problem{Severity: Error, Path: "apiVersion", Message: fmt.Sprintf("unknown API group %q", group), Suggestion: "did you mean " + g + "?"}
	}
	return nil, nil
}

// nearest is the candidate that a person who wrote s probably meant, or "".
func nearest(s string, candidates []string) string {
	best, bestDist := "", max(1, min(3, len(s)/3))+1
	for _, c := range candidates {
		d := distance(strings.ToLower(s), strings.ToLower(c))
		if d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// distance counts insertions, removals, replacements and swaps of neighbours from a to b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, prev, cur []int
	prev = make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur = make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev = prev, cur
	}
	return prev[len(b)]
}
