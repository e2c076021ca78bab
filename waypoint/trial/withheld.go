package trial

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/waypoint/translate"
)

// How the words begin by which a launcher names what it withholds.
const (
	pending = "being tried before it is served, without a verdict yet: "
	looped  = "looped, Envoy's watchdog ended the proxy while it ran: "
)

// Withheld are objects that a launcher keeps from its Envoy by their names: nobody has to search for them.
type Withheld struct {
	Sources []translate.Source
	// Pending patches are being tried, and are to be sent again for the verdict. Others are extensions that looped.
	Pending bool
}

// String is what a launcher says, in the place of Envoy's words.
func (w Withheld) String() string {
	list := make([]string, len(w.Sources))
	for i, s := range w.Sources {
		list[i] = s.String()
	}
	slices.Sort(list)
	words := looped
	if w.Pending {
		words = pending
	}
	return words + strings.Join(slices.Compact(list), ", ")
}

// ReadWithheld reads String; ok is false for all other refusals.
func ReadWithheld(detail string) (w Withheld, ok bool) {
	list, ok := strings.CutPrefix(detail, pending)
	w.Pending = ok
	if !ok {
		if list, ok = strings.CutPrefix(detail, looped); !ok {
			return Withheld{}, false
		}
	}
	for item := range strings.SplitSeq(list, ", ") {
		if parts := strings.Split(item, "/"); len(parts) == 3 {
			w.Sources = append(w.Sources, translate.Source{Kind: parts[0], Namespace: parts[1], Name: parts[2]})
		}
	}
	return w, true
}
