package index

import "github.com/weftmesh/weft/pkg/model"

// Best are the candidates among which Pick chooses.
func Best(s *model.Service, client *model.Workload, candidates []*model.Workload) []*model.Workload {
	p := prefer(s, client)
	best, out := -1, []*model.Workload(nil)
	for _, w := range candidates {
		switch r := p.rank(w); {
		case r < 0 || r < best:
		case r > best:
			best, out = r, append(out[:0], w)
		default:
			out = append(out, w)
		}
	}
	return out
}
