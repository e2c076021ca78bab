package main

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/translate"
)

// objectReport is what there is to say of one object, on the page /debug/status and in its status file. One
// without a name is about a file that could not be read as objects.
type objectReport struct {
	controller.Status
	Problems []source.Problem `json:"problems,omitempty"` // of reading, of compiling and of waypoints
}

func (r *objectReport) key() string { return r.Kind + "/" + r.Namespace + "/" + r.Name }

// reports joins what source, compiler and waypoints say, sorted by object. Values are new.
func reports(status []controller.Status, problems []source.Problem, refusals map[string][]translate.Problem) []objectReport {
	by := map[string]*objectReport{}
	for _, s := range status {
		r := &objectReport{Status: s}
		r.Conditions = slices.Clone(s.Conditions)
		r.Parents = make([]gatewayv1.RouteParentStatus, len(s.Parents))
		for i, p := range s.Parents {
			r.Parents[i] = *p.DeepCopy()
		}
		r.Listeners = make([]gatewayv1.ListenerStatus, len(s.Listeners))
		for i, l := range s.Listeners {
			r.Listeners[i] = *l.DeepCopy()
		}
		for _, n := range s.Problems {
			r.Problems = append(r.Problems, source.Problem{Severity: n.Severity, File: s.File, Line: n.Line, Kind: s.Kind, Namespace: s.Namespace, Name: s.Name,
				Path: n.Path, Message: n.Message, Suggestion: n.Next})
		}
		by[r.key()] = r
	}
	for _, p := range problems {
		r := of(by, p.Kind, p.Namespace, p.Name, p.File, p.Line)
		r.Problems = append(r.Problems, p)
		if p.Severity == source.Error && p.Name != "" && !p.LastGood && len(r.Conditions) == 0 && len(r.Parents) == 0 {
			r.Conditions = []metav1.Condition{{Type: string(gatewayv1.RouteConditionAccepted), Status: metav1.ConditionFalse, Reason: "Invalid", Message: p.String()}}
		}
	}
	for _, waiting := range []bool{true, false} { // what is refused takes the place of what is waited for
		for _, waypoint := range slices.Sorted(maps.Keys(refusals)) {
			for _, p := range refusals[waypoint] {
				if p.Waiting == waiting {
					of(by, p.Source.Kind, p.Source.Namespace, p.Source.Name, "", 0).blame("waypoint "+waypoint+": "+p.Message, waiting)
				}
			}
		}
	}
	out := make([]objectReport, 0, len(by))
	for _, key := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[key])
	}
	return out
}

// of finds an object's report or makes one; what is about no object is kept by file.
func of(by map[string]*objectReport, kind, namespace, name, file string, line int) *objectReport {
	r := &objectReport{Status: controller.Status{Kind: kind, Namespace: namespace, Name: name, File: file, Line: line}}
	key := r.key()
	if name == "" {
		r.Line = 0
		key = " " + file
	}
	if by[key] == nil {
		by[key] = r
	}
	return by[key]
}

// Why a condition of an object is false that a waypoint does not serve as it is written, or has not been heard to.
const (
	reasonRefused = "RefusedByWaypoint"
	reasonUntried = "Untried"
)

// blame says that a waypoint does not serve the object as it is written, or has not said that it does.
func (r *objectReport) blame(message string, waiting bool) {
	reason, patch := reasonRefused, r.Kind == translate.KindPatch
	if waiting {
		reason = reasonUntried
	} else {
		r.Problems = append(r.Problems, source.Problem{Severity: source.Error, File: r.File, Line: r.Line, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Message: message})
	}
	if patch {
		r.deny("Enforced", reason, message)
	}
	if patch && waiting {
		return
	}
	r.deny(string(gatewayv1.GatewayConditionProgrammed), reason, message)
	for i := range r.Parents { // where the status of a route is read
		r.Parents[i].Conditions = r.denied(r.Parents[i].Conditions, cluster.ConditionProgrammed, reason, message)
	}
}

// deny makes a condition false; of several messages for one reason all are kept.
func (r *objectReport) deny(condition, reason, message string) {
	r.Conditions = r.denied(r.Conditions, condition, reason, message)
}

func (r *objectReport) denied(list []metav1.Condition, condition, reason, message string) []metav1.Condition {
	c := metav1.Condition{Type: condition, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: r.Generation}
	i := slices.IndexFunc(list, func(d metav1.Condition) bool { return d.Type == c.Type })
	switch {
	case i < 0:
		return append(list, c)
	case list[i].Reason == c.Reason:
		list[i].Message += "; " + message
	default:
		list[i] = c
	}
	return list
}

// stamps remember since when each condition has been as it is.
type stamps map[string]stamp

type stamp struct {
	status metav1.ConditionStatus
	since  metav1.Time
}

// apply sets the transition times and returns the stamps of what there is now.
func (s stamps) apply(all []objectReport, now metav1.Time) stamps {
	next := make(stamps, len(s))
	for i := range all {
		all[i].each(func(key string, c *metav1.Condition) {
			c.LastTransitionTime = now
			if was, ok := s[key]; ok && was.status == c.Status {
				c.LastTransitionTime = was.since
			}
			next[key] = stamp{c.Status, c.LastTransitionTime}
		})
	}
	return next
}

// stamp notes the times of an object's conditions.
func (r *objectReport) stamp(out stamps) {
	r.each(func(key string, c *metav1.Condition) { out[key] = stamp{c.Status, c.LastTransitionTime} })
}

// each visits the conditions of an object, of its listeners and of its parents, under names that stay the same.
func (r *objectReport) each(visit func(key string, c *metav1.Condition)) {
	for i := range r.Conditions {
		visit(r.key()+"/"+r.Conditions[i].Type, &r.Conditions[i])
	}
	for i := range r.Listeners {
		l := &r.Listeners[i]
		for j := range l.Conditions {
			visit(r.key()+"/listener/"+string(l.Name)+"/"+l.Conditions[j].Type, &l.Conditions[j])
		}
	}
	for i := range r.Parents {
		p := &r.Parents[i]
		ref := p.ParentRef
		name := []string{r.key()}
		for _, part := range []*string{(*string)(ref.Group), (*string)(ref.Kind), (*string)(ref.Namespace), (*string)(&ref.Name), (*string)(ref.SectionName)} {
			if part != nil {
				name = append(name, *part)
			}
		}
		for j := range p.Conditions {
			visit(strings.Join(append(name, p.Conditions[j].Type), "/"), &p.Conditions[j])
		}
	}
}

// rendered is a status file and what it was made from.
type rendered struct {
	report objectReport
	text   string
}

// statusFiles are DIR/<kind>/<namespace>_<name>.yaml of every object of a known kind of which there is
// something to say. What has not changed since before is not written out again.
func statusFiles(dir string, kinds map[string]int, all []objectReport, before map[string]rendered, log *zap.Logger) map[string]rendered {
	out := map[string]rendered{}
	for i := range all {
		r := all[i]
		if _, known := kinds[r.Kind]; !known || len(r.Conditions)+len(r.Parents)+len(r.Problems) == 0 || !safeName(r.Name) || (r.Namespace != "" && !safeName(r.Namespace)) {
			continue
		}
		path := filepath.Join(dir, strings.ToLower(r.Kind), r.Namespace+"_"+r.Name+".yaml")
		if was, ok := before[path]; ok && reflect.DeepEqual(was.report, r) {
			out[path] = was
			continue
		}
		text, err := yaml.Marshal(r)
		if err != nil {
			log.Error("write status", zap.String("object", r.key()), zap.Error(err))
			continue
		}
		out[path] = rendered{r, string(text)}
	}
	return out
}

// safeName reports whether a name can be part of a file's: the names of broken objects may be anything.
func safeName(name string) bool {
	return len(validation.IsDNS1123Subdomain(name)) == 0
}
