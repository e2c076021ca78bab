package isolate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/verdict"
)

// Version names the content that a snapshot has of an object: the same in every replica that reads the same. Empty: it
// has none.
func Version(s *model.Snapshot, src translate.Source) string { return find(s, src).version() }

// Patches are the patches that a snapshot has at a waypoint, and their versions: the waypoint's launcher tries each before
// it is served.
func Patches(s *model.Snapshot, waypoint string) map[translate.Source]string {
	if s == nil || s.Waypoints[waypoint] == nil {
		return nil
	}
	here, objects := map[translate.Source]bool{}, map[translate.Source]object{}
	for key, a := range s.Attachments {
		if a.Kind != translate.KindPatch {
			continue
		}
		src := translate.Source{Kind: a.Kind, Namespace: a.Namespace, Name: a.Name}
		if objects[src] == nil {
			objects[src] = object{}
		}
		objects[src][key] = a
		here[src] = here[src] || concerns(s, a.Target, s.Waypoints[waypoint])
	}
	out := map[translate.Source]string{}
	for src := range here {
		if here[src] {
			out[src] = objects[src].version()
		}
	}
	return out
}

func concerns(s *model.Snapshot, t model.Target, w *model.Waypoint) bool {
	if t.Service == "" {
		return t.Waypoint == w.Key()
	}
	service := s.Services[t.Service]
	return service != nil && service.Waypoint != nil && service.Waypoint.Hostname == w.Hostname &&
		(service.Waypoint.Namespace == "" || service.Waypoint.Namespace == w.Namespace)
}

// Ready reports whether a waypoint has a pod that serves.
func Ready(s *model.Snapshot, waypoint string) bool {
	wp := s.Waypoints[waypoint]
	if wp == nil {
		return false
	}
	service := wp.Namespace + "/" + wp.Hostname
	for _, w := range s.Workloads.All() {
		if w.Services[service] != nil && !w.Unhealthy {
			return true
		}
	}
	return false
}

// word sorts the problems: what translation finds is the same wherever it is done; the rest is the Envoys' word, which is
// known here alone. With the lock held.
func (i *Isolator) word() (found []translate.Problem, w verdict.Word) {
	w.Heard = i.judged > 0
	pending := i.m.pending() // of which there is no word yet
	for _, p := range slices.Concat(i.of, i.m.problems()) {
		_, held := i.m.held[p.Source]
		if !held && p.Source != (translate.Source{}) {
			found = append(found, p)
			continue
		}
		if slices.Contains(pending, p.Source) {
			continue
		}
		w.Refused = append(w.Refused, verdict.Verdict{Source: p.Source, Version: i.m.refused[p.Source].version(), Words: p.Message})
	}
	for src, version := range Patches(i.m.good.snap, i.o.Waypoint) {
		if older, ok := i.m.good.except[src]; ok {
			version = older.version()
		}
		if version != "" {
			w.Accepted = append(w.Accepted, verdict.Verdict{Source: src, Version: version})
		}
	}
	for _, list := range [][]verdict.Verdict{w.Refused, w.Accepted} {
		slices.SortFunc(list, func(a, b verdict.Verdict) int { return strings.Compare(a.String()+a.Words, b.String()+b.Words) })
	}
	slices.SortFunc(found, func(a, b translate.Problem) int {
		return strings.Compare(a.Source.String()+a.Message, b.Source.String()+b.Message)
	})
	return found, w
}

// version is empty for nil. Snapshots that come from the same objects have the same content, in whatever order maps are.
func (o object) version() string {
	if len(o) == 0 {
		return ""
	}
	text, err := json.Marshal(o)
	if err != nil {
		return "" // never said to be in force
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
