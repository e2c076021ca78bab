package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// objectStatus is one object on the controller's page /debug/status, as far as it is shown.
type objectStatus struct {
	Kind       string                        `json:"kind"`
	Namespace  string                        `json:"namespace"`
	Name       string                        `json:"name"`
	File       string                        `json:"file"`
	Line       int                           `json:"line"`
	Conditions []metav1.Condition            `json:"conditions,omitempty"`
	Parents    []gatewayv1.RouteParentStatus `json:"parents,omitempty"`
	Problems   []source.Problem              `json:"problems,omitempty"`
}

// problemView is one thing that is wrong.
type problemView struct {
	Object   string          `json:"object"`
	Severity source.Severity `json:"severity"`
	Where    string          `json:"where,omitempty"` // file:line
	Path     string          `json:"path,omitempty"`
	Message  string          `json:"message"`
	Next     string          `json:"next,omitempty"`
}

// String is file:line: severity: object: path: message; what to do.
func (p problemView) String() string {
	text := ""
	for _, part := range []string{p.Where, string(p.Severity), p.Object, p.Path, p.Message} {
		if part != "" && text != "" {
			text += ": "
		}
		text += part
	}
	if p.Next != "" {
		text += "; " + p.Next
	}
	return text
}

func getProblems(cmd *cobra.Command, o *getOptions) (*listing, error) {
	found, err := o.problems(cmd.Context())
	if err != nil {
		return nil, err
	}
	l := &listing{header: []string{"SEVERITY", "OBJECT", "WHERE", "PROBLEM"}, wide: []string{"FIELD", "WHAT TO DO"}, empty: "no problems", events: true}
	for _, s := range found {
		for _, p := range s.problems() {
			l.add(key(s.Namespace, s.Name), p, string(p.Severity), p.Object, p.Where, p.Message, p.Path, p.Next)
		}
	}
	return l, nil
}

// problems are those that were found, or else what the conditions say that do not hold.
func (s *objectStatus) problems() []problemView {
	object := source.Problem{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}.Object()
	var out []problemView
	for _, p := range s.Problems {
		view := problemView{Object: object, Severity: p.Severity, Where: place(p.File, p.Line), Path: p.Path, Message: p.Message, Next: p.Suggestion}
		if p.LastGood {
			view.Message += " (the last good version stays in force)"
		}
		out = append(out, view)
	}
	if len(out) > 0 {
		return out
	}
	conditions := s.Conditions
	for _, p := range s.Parents {
		conditions = append(conditions, p.Conditions...)
	}
	for _, c := range conditions {
		if c.Status == metav1.ConditionFalse {
			out = append(out, problemView{Object: object, Severity: source.Warning, Where: place(s.File, s.Line), Message: "not " + c.Type + ": " + c.Message})
		}
	}
	return out
}

func place(file string, line int) string {
	if file == "" || line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
