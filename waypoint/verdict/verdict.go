// Package verdict joins what the Envoys of a waypoint say of its configuration, whichever replica of the controller they
// are connected to.
//
// Each replica publishes to the pods that are connected to it, and isolate.Isolator hears their answers: its Word. Replicas
// pass their words on to each other (Encode, Decode); every replica merges what it knows, and so writes and shows the same.
//
// What Merge guarantees: an object that is refused at any replica is refused. A patch is in force only once every replica
// to which pods are connected has had it accepted, in the version that this replica reads. Doubt is not acceptance: a word
// about another version says nothing good of this one, and what was refused stays so while nobody is there to ask.
package verdict

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/waypoint/translate"
)

// Verdict is on one version of an object.
type Verdict struct {
	// Source is the object; the zero Source: no object is to blame.
	translate.Source
	// Version is that of the content, the same in every replica that reads the same. Empty where there is no object.
	Version string `json:"version,omitempty"`
	// Words of a refusal.
	Words string `json:"words,omitempty"`
}

// Word is the last that the Envoys of one waypoint, as far as they are connected to one replica, have said.
type Word struct {
	// Heard: Envoys are connected and have answered. Else the word is from before, and counts while no other replica has heard
	// anything.
	Heard bool `json:"heard,omitempty"`
	// Refused is what is not in force as it is written.
	Refused []Verdict `json:"refused,omitempty"`
	// Accepted are the patches that were, in the versions that were.
	Accepted []Verdict `json:"accepted,omitempty"`
	// Omitted is how many verdicts were too many to pass on.
	Omitted int `json:"omitted,omitempty"`
}

// Equal reports whether two words say the same.
func (w Word) Equal(o Word) bool {
	return w.Heard == o.Heard && w.Omitted == o.Omitted && slices.Equal(w.Refused, o.Refused) && slices.Equal(w.Accepted, o.Accepted)
}

// Objects are those of a waypoint as this replica reads them.
type Objects struct {
	// Patches that are to be in force at the waypoint, and their versions.
	Patches map[translate.Source]string
	// Version of any object; empty: there is none.
	Version func(translate.Source) string
	// Ready reports whether the waypoint has a pod that serves.
	Ready func() bool
}

// Outcome is what the words come to.
type Outcome struct {
	// Problems are sorted by object.
	Problems []translate.Problem

	accepted map[translate.Source]string // patches in force, by the version that is
	refused  []Verdict
}

// Merge joins the words of all replicas on one waypoint. before is the outcome of the last time.
func Merge(words []Word, now Objects, before Outcome) Outcome {
	heard := slices.DeleteFunc(slices.Clone(words), func(w Word) bool { return !w.Heard })
	var refused []Verdict
	if len(heard) == 0 { // all that is known is from earlier
		refused = slices.DeleteFunc(slices.Clone(before.refused), func(v Verdict) bool { return v.Version != now.Version(v.Source) })
		heard = words
	}
	omitted := 0
	for _, w := range heard {
		refused = append(refused, w.Refused...)
		omitted += w.Omitted
	}
	out := Outcome{accepted: map[translate.Source]string{}}
	out.refuse(refused, now)
	if omitted > 0 {
		out.add(translate.Problem{Message: tooMany(omitted)})
	}
	for _, src := range slices.SortedFunc(maps.Keys(now.Patches), translate.Source.Compare) {
		version := now.Patches[src]
		switch {
		case slices.ContainsFunc(out.refused, func(v Verdict) bool { return v.Source == src }):
		case before.accepted[src] == version || accepted(words, src, version):
			out.accepted[src] = version
		case slices.ContainsFunc(words, func(w Word) bool { return w.Heard }) || now.Ready():
			out.add(translate.Problem{Source: src, Waiting: true, Message: "not in force yet: the waypoint tries it with an Envoy of its own first"})
		default:
			out.add(translate.Problem{Source: src, Waiting: true, Message: "not in force: the waypoint has no pod that is ready, and is to try it with an Envoy of its own first"})
		}
	}
	slices.SortStableFunc(out.Problems, func(a, b translate.Problem) int { return a.Source.Compare(b.Source) })
	return out
}

// refuse says what of the refusals concerns the objects as they are now.
func (o *Outcome) refuse(refused []Verdict, now Objects) {
	for _, v := range refused {
		if v.Source == (translate.Source{}) {
			o.add(translate.Problem{Message: v.Words})
			continue
		}
		switch version := now.Version(v.Source); version {
		case "": // gone, or not read yet
		case v.Version:
			o.add(translate.Problem{Source: v.Source, Message: v.Words})
			if !slices.Contains(o.refused, v) {
				o.refused = append(o.refused, v)
			}
		default:
			if v.Kind != translate.KindPatch { // which are waited for anyway
				o.add(translate.Problem{Source: v.Source, Waiting: true, Message: "no word yet on this version; of another: " + v.Words})
			}
		}
	}
}

// add leaves out what has been said: several replicas say the same.
func (o *Outcome) add(p translate.Problem) {
	if !slices.Contains(o.Problems, p) {
		o.Problems = append(o.Problems, p)
	}
}

// accepted reports whether a patch is, wherever its waypoint's pods are connected; while none is, whether it was anywhere.
func accepted(words []Word, src translate.Source, version string) bool {
	some, all := false, true
	for _, w := range words {
		yes := slices.ContainsFunc(w.Accepted, func(v Verdict) bool { return v.Source == src && v.Version == version })
		some = some || yes
		all = all && (yes || !w.Heard)
	}
	return some && all
}
