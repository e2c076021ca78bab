package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/translate"
)

// report is the page /debug/status.
type report struct {
	Objects  []controller.Status            `json:"objects"`
	Problems []source.Problem               `json:"problems"`
	Refusals map[string][]translate.Problem `json:"waypointProblems,omitempty"` // by waypoint
}

func (p *pipeline) report() report {
	p.mu.Lock()
	defer p.mu.Unlock()
	refusals := map[string][]translate.Problem{}
	for key, ps := range p.refusals {
		if len(ps) > 0 {
			refusals[key] = ps
		}
	}
	return report{Objects: p.status, Problems: p.problems, Refusals: refusals}
}

// writeStatus writes DIR/status/<kind>/<namespace>_<name>.yaml of every object whose status changed, and
// removes those of objects that are gone. What a waypoint could not serve is told by its condition Programmed.
func (p *pipeline) writeStatus() {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for i := range p.status {
		s := p.status[i]
		path := filepath.Join(p.c.stateDir, "status", strings.ToLower(s.Kind), s.Namespace+"_"+s.Name+".yaml")
		seen[path] = true
		s.Conditions = append(append([]metav1.Condition(nil), s.Conditions...), p.refusalsOf(s)...)
		text, err := yaml.Marshal(s)
		if err != nil {
			p.log.Error("write status", zap.String("object", s.Key()), zap.Error(err))
			continue
		}
		if p.written[path] == string(text) { // compared without times
			continue
		}
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		for j := range s.Conditions {
			s.Conditions[j].LastTransitionTime = now
		}
		stamped, err := yaml.Marshal(s)
		if err == nil {
			err = writeFile(path, stamped)
		}
		if err != nil {
			p.log.Error("write status; it will be tried again at the next change", zap.String("file", path), zap.Error(err))
			continue
		}
		p.written[path] = string(text)
	}
	for path := range p.written {
		if seen[path] {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.log.Error("remove status", zap.String("file", path), zap.Error(err))
		}
		delete(p.written, path)
	}
}

// refusalsOf is what waypoints said of an object. Call with mu held.
func (p *pipeline) refusalsOf(s controller.Status) []metav1.Condition {
	var out []metav1.Condition
	for waypoint, ps := range p.refusals {
		for _, q := range ps {
			if q.Source.Kind == s.Kind && q.Source.Namespace == s.Namespace && q.Source.Name == s.Name {
				out = append(out, metav1.Condition{Type: "Programmed", Status: metav1.ConditionFalse, Reason: "RefusedByWaypoint",
					Message: "waypoint " + waypoint + ": " + q.Message, ObservedGeneration: s.Generation})
			}
		}
	}
	return out
}
