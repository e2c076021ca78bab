package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// Status is what became of one object. Conditions have no times; who publishes them adds those.
type Status struct {
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	// Conditions of the object; routes have theirs in Parents.
	Conditions []metav1.Condition            `json:"conditions,omitempty"`
	Parents    []gatewayv1.RouteParentStatus `json:"parents,omitempty"`
	Addresses  []string                      `json:"addresses,omitempty"`         // of Gateways
	Features   []string                      `json:"supportedFeatures,omitempty"` // of GatewayClasses
	Listeners  []gatewayv1.ListenerStatus    `json:"listeners,omitempty"`         // of Gateways
	Problems   []Note                        `json:"problems,omitempty"`

	origin source.Origin
}

// Note is something about an object that a person should know.
type Note struct {
	Severity source.Severity `json:"severity"`
	// Path of the field that it is about.
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	// Next is what to do.
	Next string `json:"next,omitempty"`
}

// Condition types beside those of Gateway API.
const (
	// Accepted: understood as written.
	conditionAccepted = "Accepted"
	// Enforced: in force, and where.
	conditionEnforced = "Enforced"
	// Programmed: Gateway API's word for it.
	conditionProgrammed   = "Programmed"
	conditionResolvedRefs = "ResolvedRefs"
	// WaypointBound: calls to the service pass its waypoint.
	conditionBound = "WaypointBound"
)

// Key is Kind/namespace/name.
func (s *Status) Key() string { return statusKey(s.Kind, s.Namespace, s.Name) }

func statusKey(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// Condition returns a condition by its type, nil when it is not there.
func (s *Status) Condition(t string) *metav1.Condition { return findCondition(s.Conditions, t) }

func findCondition(list []metav1.Condition, t string) *metav1.Condition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

// set puts a condition; the first one of a type that is false stays.
func (s *Status) set(t string, ok bool, reason, format string, args ...any) {
	s.Conditions = setCondition(s.Conditions, s.Generation, t, ok, reason, fmt.Sprintf(format, args...))
}

func setCondition(list []metav1.Condition, generation int64, t string, ok bool, reason, message string) []metav1.Condition {
	c := metav1.Condition{Type: t, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation}
	if !ok {
		c.Status = metav1.ConditionFalse
	}
	was := findCondition(list, t)
	switch {
	case was == nil:
		return append(list, c)
	case was.Status == metav1.ConditionFalse:
		if !ok && was.Message != message {
			was.Message = joinText(was.Message, message)
		}
	default:
		*was = c
	}
	return list
}

func joinText(a, b string) string {
	if a == "" || strings.Contains(a, b) {
		return cmp.Or(a, b)
	}
	return a + "; " + b
}

func (s *Status) fail(path, message, next string) { s.add(source.Error, path, message, next) }
func (s *Status) warn(path, message, next string) { s.add(source.Warning, path, message, next) }

func (s *Status) add(sev source.Severity, path, message, next string) {
	for _, n := range s.Problems {
		if n.Path == path && n.Message == message {
			return
		}
	}
	s.Problems = append(s.Problems, Note{Severity: sev, Path: path, Message: message, Next: next})
}

// status returns the status of an object, made when first asked for.
func (c *compiler) status(kind string, o metav1.Object, at source.Origin) *Status {
	key := statusKey(kind, o.GetNamespace(), o.GetName())
	s := c.statuses[key]
	if s == nil {
		s = &Status{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), File: at.File, Line: at.Line, Generation: o.GetGeneration(), origin: at}
		c.statuses[key] = s
	}
	return s
}

// finish puts all statuses in order.
func (c *compiler) finish() []Status {
	for _, s := range c.statuses {
		s.finish()
	}
	return c.list()
}

// list are the statuses in a fixed order.
func (c *compiler) list() []Status {
	out := make([]Status, 0, len(c.statuses))
	for _, s := range c.statuses {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Key(), b.Key()) })
	return out
}

// finish puts what a status says in order. It is not changed after that.
func (s *Status) finish() {
	slices.SortStableFunc(s.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	for i, n := range s.Problems {
		s.Problems[i].Line, _ = s.origin.At(n.Path)
	}
}

// clone shares nothing with s that is changed while a status is made.
func (s *Status) clone() Status {
	out := *s
	out.Conditions, out.Problems = slices.Clone(s.Conditions), slices.Clone(s.Problems)
	return out
}
