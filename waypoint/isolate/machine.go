package isolate

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// phase is what the last publication is to find out.
type phase uint8

const (
	idle      phase = iota // nothing published yet, or the last is accepted
	settling               // a snapshot with the known culprits held: is it accepted?
	holding                // suspects held as well: is it accepted now?
	releasing              // some of them released: still accepted?
	stuck                  // refused whatever is held: it is no object's fault
)

// machine decides what to publish. Its inputs are a new snapshot, a refusal, and the silence after a
// publication that counts as acceptance; each answers whether to publish anew.
//
//	          set                    nack                  settled
//	idle ───────────► settling ───────────► holding ───────────► releasing ─┐ by halves, until
//	  ▲                  │ settled             │ nack: hold more      │     ◄┘ each is judged
//	  └──────────────────┴─────────────◄───────┼───── settling ◄──────┘
//	                                           └► stuck, when all is held and refused
type machine struct {
	desired *model.Snapshot
	next    *model.Snapshot // came during a search

	good    goodState                       // last versions that were in force and accepted
	before  goodState                       // the same, before the last acceptance
	held    map[translate.Source]string     // not in force, and why
	refused map[translate.Source]object     // content of what is held, to see when it changes
	sources func(string) []translate.Source // of the last publication, by type URL

	phase    phase
	level    int                  // how wide holding has gone
	suspects []translate.Source   // held in this search
	groups   [][]translate.Source // still to be released
	trial    []translate.Source   // released right now
	reverted bool                 // trial was refused and is held again, which no publication said yet
	detail   string               // of the refusal that began the search
	typeURL  string
	unowned  string // why it is stuck
}

func newMachine() *machine {
	return &machine{held: map[translate.Source]string{}, refused: map[translate.Source]object{},
		sources: func(string) []translate.Source { return nil }}
}

// set takes a new snapshot. During a search it waits for the end.
func (m *machine) set(s *model.Snapshot) (publish bool) {
	if m.phase == holding || m.phase == releasing {
		m.next = s
		return false
	}
	m.begin(s)
	return true
}

func (m *machine) begin(s *model.Snapshot) {
	m.desired, m.next = s, nil
	for src := range m.held {
		if o := find(s, src); o == nil || !o.equal(m.refused[src]) {
			m.free(src)
		}
	}
	m.phase, m.unowned = settling, ""
}

// nack takes a refusal of the last publication.
func (m *machine) nack(typeURL, detail string) (publish bool) {
	if w, ok := trial.ReadWithheld(detail); ok && (m.phase != releasing || !w.Pending) {
		return m.withhold(w, detail)
	}
	switch m.phase {
	case idle, settling:
		if m.desired == nil {
			return false
		}
		if m.phase == idle {
			m.good = m.before // the silence that made it good was deceptive
		}
		m.detail, m.typeURL, m.level, m.suspects = detail, typeURL, -1, nil
		return m.widen()
	case holding:
		if trial.Said(m.detail) && !trial.Said(detail) { // it was not for the patches alone: Envoy itself has seen the rest
			m.detail, m.typeURL, m.level = detail, typeURL, -1
		}
		return m.widen()
	case releasing:
		m.judgeBad(detail)
		return m.release()
	}
	return false
}

// widen holds more than before; when there is no more, it is nobody's fault that can be found.
func (m *machine) widen() bool {
	for m.level < 3 {
		m.level++
		if m.level == 3 {
			// Not even the good versions are taken: all that is held fails closed.
			if !m.distrust() {
				continue
			}
			return true
		}
		more := m.candidates(m.level)
		if len(more) == 0 {
			continue
		}
		for _, src := range more {
			m.hold(src, m.detail)
		}
		m.suspects = append(m.suspects, more...)
		m.phase = holding
		return true
	}
	for _, src := range m.suspects {
		m.free(src)
	}
	m.phase, m.unowned = stuck, m.detail
	if m.next != nil {
		m.begin(m.next)
	}
	return true
}

// distrust forgets the good versions of the suspects; it reports whether there were any.
func (m *machine) distrust() bool {
	any := false
	for _, src := range m.suspects {
		any = any || m.good.of(src) != nil
	}
	m.good = m.good.without(m.suspects)
	return any
}

// candidates lists what is not held yet: first what changed and is quoted, or just changed; then all of
// the type; then everything. Of a type that people's routes, policies and faults go into, services and
// workloads are blamed only in the end. A trial says nothing of what no patch has changed, and may fail for want of time
// or memory: for its words patches alone are held.
func (m *machine) candidates(level int) []translate.Source {
	var out, quoted []translate.Source
	typeURL := m.typeURL
	if level == 2 {
		typeURL = ""
	}
	sources := m.sources(typeURL)
	patches := trial.Said(m.detail)
	people := level < 2 && slices.ContainsFunc(sources, func(s translate.Source) bool { return !infrastructure(s) })
	objects := objectsOf(m.desired)
	for _, src := range sources {
		o := objects[src]
		if _, held := m.held[src]; held || o == nil || people && infrastructure(src) || patches && src.Kind != translate.KindPatch {
			continue
		}
		if level == 0 && o.equal(m.good.of(src)) {
			continue
		}
		out = append(out, src)
		if level == 0 && mentions(m.detail, o) {
			quoted = append(quoted, src)
		}
	}
	if len(quoted) > 0 {
		return quoted
	}
	return out
}

func infrastructure(s translate.Source) bool { return s.Kind == "Service" || s.Kind == "Workload" }

// mentions reports whether a refusal quotes a text of an object that is long enough to mean something.
func mentions(detail string, o object) bool {
	return slices.ContainsFunc(o.strings(), func(s string) bool { return len(s) >= 6 && strings.Contains(detail, s) })
}

func (m *machine) hold(src translate.Source, why string) {
	m.held[src] = why
	m.refused[src] = find(m.desired, src)
}

func (m *machine) free(src translate.Source) {
	delete(m.held, src)
	delete(m.refused, src)
}

// settled says that the last publication was not refused in the time that refusals take.
func (m *machine) settled() (publish bool) {
	switch m.phase {
	case settling:
		m.accept()
		m.phase = idle
		if m.next != nil {
			m.begin(m.next)
			return true
		}
	case holding:
		m.accept()
		if len(m.suspects) == 1 {
			return m.finish() // without it accepted, with it refused: no need to try again
		}
		m.groups = halves(m.suspects)
		return m.release()
	case releasing:
		m.accept()
		m.trial = nil
		return m.release()
	}
	return false
}

// accept remembers everything in force as good.
func (m *machine) accept() {
	m.before = m.good
	m.good = m.good.accept(m.desired, m.held)
}

// release tries the next group.
func (m *machine) release() bool {
	if len(m.groups) == 0 {
		return m.finish()
	}
	m.trial, m.groups = m.groups[0], m.groups[1:]
	for _, src := range m.trial {
		m.free(src)
	}
	m.phase, m.reverted = releasing, false
	return true
}

// judgeBad holds the group again whose release was refused; one alone is a culprit, more are divided.
func (m *machine) judgeBad(detail string) {
	for _, src := range m.trial {
		m.hold(src, detail)
	}
	if len(m.trial) > 1 {
		m.groups = append(halves(m.trial), m.groups...)
	}
	m.trial, m.reverted = nil, true
}

// finish ends a search: what is still held is at fault.
func (m *machine) finish() bool {
	publish := m.reverted
	m.suspects, m.groups, m.trial, m.reverted = nil, nil, nil, false
	m.phase = idle
	if m.next != nil {
		m.begin(m.next)
		return true
	}
	if publish {
		m.phase = settling
	}
	return publish
}

func halves(in []translate.Source) [][]translate.Source {
	if len(in) < 2 {
		return [][]translate.Source{in}
	}
	n := len(in) / 2
	return [][]translate.Source{in[:n:n], in[n:]}
}

// effective is what is to be published: the snapshot with last good versions, and the objects that have
// none and must fail closed.
func (m *machine) effective() (*model.Snapshot, map[translate.Source]string) {
	stand, closed := map[translate.Source]object{}, map[translate.Source]string{}
	for src, why := range m.held {
		if o := m.good.of(src); o != nil {
			stand[src] = o
		} else {
			closed[src] = brief(why)
		}
	}
	return with(m.desired, stand), closed
}

// problems names what is held although it has a last good version; the others are named by translation.
func (m *machine) problems() []translate.Problem {
	var out []translate.Problem
	for src, why := range m.held {
		if m.good.of(src) != nil {
			out = append(out, translate.Problem{Source: src, Message: "the last good version stays in force, Envoy refuses this one: " + brief(why)})
		}
	}
	if m.unowned != "" {
		out = append(out, translate.Problem{Message: "Envoy refuses the waypoint's configuration, and no object is to blame: " + brief(m.unowned)})
	}
	return out
}

// brief cuts a refusal that quotes a whole resource: what is wrong is said first and last.
func brief(s string) string {
	const head, tail = 300, 200
	if len(s) <= head+tail {
		return s
	}
	return strings.ToValidUTF8(s[:head], "") + " … " + strings.ToValidUTF8(s[len(s)-tail:], "")
}
