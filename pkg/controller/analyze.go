package controller

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/source"
)

// Finding is something wrong with manifests, for a person.
type Finding struct {
	Severity source.Severity `json:"severity"`
	File     string          `json:"file"`
	Line     int             `json:"line,omitempty"`
	Column   int             `json:"column,omitempty"`
	Object   string          `json:"object,omitempty"` // Kind namespace/name
	Path     string          `json:"path,omitempty"`
	Message  string          `json:"message"`
	// Next is what to do.
	Next string `json:"next,omitempty"`
}

// String is file:line: severity: object: path: message; next.
func (f Finding) String() string {
	out := f.File
	if f.Line > 0 {
		out += fmt.Sprintf(":%d", f.Line)
	}
	out += ": " + string(f.Severity)
	for _, part := range []string{f.Object, f.Path, f.Message} {
		if part != "" {
			out += ": " + part
		}
	}
	if f.Next != "" {
		out += "; " + f.Next
	}
	return out
}

// Analyze says what is wrong with objects, and with the files that they were read from: what is not
// understood, refers to nothing, takes nothing or can never take effect. It is pure. Manifests alone do:
// Deployments stand for the pods that a cluster would make of them.
func Analyze(objs *source.Objects, problems []source.Problem, cfg Config) []Finding {
	var out []Finding
	for _, p := range problems {
		f := Finding{Severity: p.Severity, File: p.File, Line: p.Line, Column: p.Column, Object: p.Object(), Path: p.Path, Message: p.Message, Next: p.Suggestion}
		if p.LastGood {
			f.Message += " (the last good version stays in force)"
		}
		out = append(out, f)
	}
	c := newCompiler(withImaginedPods(objs), cfg)
	c.compile()
	c.lint()
	for _, s := range c.finish() {
		for _, n := range s.Problems {
			line, col := s.origin.At(n.Path)
			f := Finding{Severity: n.Severity, File: s.File, Line: line, Column: col, Object: s.Kind + " " + s.Name, Path: n.Path, Message: n.Message, Next: n.Next}
			if s.Namespace != "" {
				f.Object = s.Kind + " " + s.Namespace + "/" + s.Name
			}
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(out)
}
