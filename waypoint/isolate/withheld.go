package isolate

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// What a launcher keeps from its Envoy it names, and no search is needed.
//
// A trial that takes its time is no refusal yet. The patches that it is about are held, so that everybody else's changes
// go on; after a while they are sent again, and then the launcher knows more. Modules that looped are held until they
// change.

// From minRetry the time until that doubles, up to maxRetry.
const (
	minRetry = time.Second
	maxRetry = 8 * time.Second
)

// withhold holds what a launcher names. A patch that is in its good version already stays there: it is something else of
// its target that is tried. An extension that looped has no good version: Envoy had accepted it.
func (m *machine) withhold(w trial.Withheld, why string) (publish bool) {
	if !w.Pending {
		m.good, m.before = m.good.without(w.Sources), m.before.without(w.Sources)
		m.trial = slices.DeleteFunc(slices.Clone(m.trial), func(s translate.Source) bool { return slices.Contains(w.Sources, s) })
	}
	for _, src := range w.Sources {
		o := find(m.desired, src)
		if _, held := m.held[src]; held || o == nil || w.Pending && o.equal(m.good.of(src)) {
			continue
		}
		m.hold(src, why)
		publish = true
	}
	if publish && m.phase == idle {
		m.phase = settling
	}
	return publish
}

// pending lists what is held until its trial has ended.
func (m *machine) pending() []translate.Source {
	var out []translate.Source
	for src, why := range m.held {
		if w, ok := trial.ReadWithheld(why); ok && w.Pending {
			out = append(out, src)
		}
	}
	slices.SortFunc(out, translate.Source.Compare)
	return out
}

// retry frees what is pending; during a search it is too early.
func (m *machine) retry() (publish bool) {
	if m.phase == holding || m.phase == releasing || m.desired == nil {
		return false
	}
	for _, src := range m.pending() {
		m.free(src)
	}
	m.begin(m.desired)
	return true
}

// withheld takes what a launcher says of a version. With the lock held.
func (i *Isolator) withheld(typeURL string, version uint64, w trial.Withheld, why string) error {
	i.o.Logger.Warn("a waypoint keeps objects from its Envoy", zap.String("waypoint", i.o.Waypoint), zap.String("reason", why))
	i.salts[typeURL]++ // Envoy has not got them, whatever the server believes
	if w.Pending {
		i.later()
		if version < i.since {
			return nil // of what came since it will say itself
		}
	}
	if !i.m.nack(typeURL, why) {
		return nil
	}
	i.prev, i.todo, i.underway = nil, nil, false
	return i.publish()
}

// later sends what is pending once more, in a while. With the lock held.
func (i *Isolator) later() {
	if i.again != nil {
		return
	}
	i.delay = min(max(2*i.delay, minRetry), maxRetry)
	i.again = i.o.AfterFunc(i.delay, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.again = nil
		switch {
		case i.closed:
		case !i.m.retry():
			i.later()
		default:
			if err := i.publish(); err != nil {
				i.o.Logger.Error("waypoint not configured", zap.Error(err))
			}
		}
	})
}
