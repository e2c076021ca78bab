package source

import (
	"fmt"
	"strings"
)

// Severity of a problem.
type Severity string

// Severities. An error left something out or keeps an old version in force; a warning changes nothing.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is something wrong with a file or an object in it.
type Problem struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`
	Column   int      `json:"column,omitempty"`
	// Kind, Namespace and Name of the object, as far as they can be read.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Path of the field: spec.rules[0].from.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	// Suggestion is what was probably meant, or what to do.
	Suggestion string `json:"suggestion,omitempty"`
	// LastGood says that an older version of the object stays in force.
	LastGood bool `json:"lastGood,omitempty"`
}

// Object is Kind namespace/name, as far as known.
func (p Problem) Object() string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	return strings.TrimSpace(p.Kind + " " + name)
}

// String is file:line:column: object: path: message; suggestion. Objects of a cluster have no file and line.
func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, p.Line)
		if p.Column > 0 {
			at = fmt.Sprintf("%s:%d", at, p.Column)
		}
	} else if p.Name != "" {
		at = "" // an object of a cluster: its place is its name
	}
	var parts []string
	for _, part := range []string{at, p.Object(), p.Path, p.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	var b strings.Builder
	b.WriteString(strings.Join(parts, ": "))
	if p.Suggestion != "" {
		b.WriteString("; " + p.Suggestion)
	}
	if p.LastGood {
		b.WriteString(" [the last good version stays in force]")
	}
	return b.String()
}
