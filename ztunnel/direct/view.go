package direct

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// View is one way that is open past the proxies, as the admin page shows it.
type View struct {
	From   string   `json:"from"`
	To     string   `json:"to"` // a pod and its port, or a service's address
	Family string   `json:"family,omitempty"`
	Here   []string `json:"endpoints,omitempty"` // of a service: those that the kernel draws
	Of     int      `json:"of,omitempty"`        // of how many
}

// Views lists the ways, by name.
func (t *Table) Views() []View {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []View{}
	for p := range t.pairs {
		from, to := t.pods[p.From], t.pods[p.To]
		if from == nil || to == nil {
			continue
		}
		family := "IPv6"
		if p.Has(netip.IPv4Unspecified()) {
			family = "IPv4"
		}
		out = append(out, View{From: from.Key(), To: to.Key() + ":" + strconv.Itoa(int(p.Port)), Family: family})
	}
	for v, p := range t.vips {
		if from := t.pods[v.From]; from != nil {
			view := View{From: from.Key(), To: v.Dialled().String(), Of: p.of}
			for _, e := range p.here {
				view.Here = append(view.Here, e.String())
			}
			out = append(out, view)
		}
	}
	slices.SortFunc(out, func(a, b View) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Family, b.Family))
	})
	return out
}
