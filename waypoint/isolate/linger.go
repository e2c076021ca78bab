package isolate

import (
	"slices"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/translate"
)

// serverNames are the targets that are led by server names, and that were until a moment ago.
type serverNames struct {
	now  []string       // in the last publication
	left map[string]int // how often within translate.HelloLinger
}

func (n *serverNames) lately() map[string]bool {
	out := map[string]bool{}
	for target := range n.left {
		out[target] = true
	}
	return out
}

// lose notes which targets are led by server names no more; it reports whether one is new among those. For as long as
// a client may take to say which name it wants they are served as before. Called with the lock held.
func (i *Isolator) lose(names []string) bool {
	var gone []string
	news := false
	for _, n := range i.names.now {
		if !slices.Contains(names, n) {
			gone = append(gone, n)
			i.names.left[n]++
			news = news || i.names.left[n] == 1
		}
	}
	i.names.now = names
	if len(gone) > 0 {
		i.o.AfterFunc(translate.HelloLinger, func() { i.forget(gone) })
	}
	return news
}

// forget ends what lose began.
func (i *Isolator) forget(targets []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range targets {
		if i.names.left[n]--; i.names.left[n] == 0 {
			delete(i.names.left, n)
		}
	}
	if i.closed || i.m.phase != idle && i.m.phase != settling {
		return // the next publication does without them
	}
	i.m.phase = settling
	if err := i.publish(); err != nil {
		i.o.Logger.Error("waypoint not configured", zap.Error(err))
	}
}
