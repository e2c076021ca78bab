package source

import (
	"encoding/json"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// Unread is a policy that cannot be used as it is written, and never could: there is no version of it that
// was good. Left out, it would leave open what somebody meant to close. So it is handed on with what is
// certain of it, its name and whom it is for, and whoever enforces policies refuses everything there.
type Unread struct {
	Origin Origin
	// Exactly one is set, with name, namespace and target, and nothing else but DryRun.
	AuthorizationPolicy   *api.AuthorizationPolicy
	PeerAuthentication    *api.PeerAuthentication
	RequestAuthentication *api.RequestAuthentication
	// Why it cannot be used.
	Why string
}

// Kind and Object are those of the policy.
func (u Unread) Kind() string {
	switch {
	case u.PeerAuthentication != nil:
		return "PeerAuthentication"
	case u.RequestAuthentication != nil:
		return "RequestAuthentication"
	}
	return "AuthorizationPolicy"
}

// Object is the policy that is set.
func (u Unread) Object() metav1.Object {
	switch {
	case u.PeerAuthentication != nil:
		return u.PeerAuthentication
	case u.RequestAuthentication != nil:
		return u.RequestAuthentication
	}
	return u.AuthorizationPolicy
}

// bodies are the fields of a policy's spec that say nothing of whom it is for.
var bodies = map[string][]string{
	"AuthorizationPolicy":   {"spec.rules", "spec.action", "spec.dryRun"},
	"PeerAuthentication":    {"spec.mtls", "spec.portLevelMtls"},
	"RequestAuthentication": {}, // it always names its targets
}

// salvage makes an object of a broken policy's name and target; nil where it is no policy or where the
// target is not certain: it cannot be read, or a field that is not understood could have been one.
func (c *checker) salvage(n *yaml.Node, k *kind, at key) metav1.Object {
	if bodies[k.name] == nil || at.name == "" || c.has("metadata.name") || c.has("metadata.namespace") {
		return nil
	}
	var target struct {
		Selector   *api.Selector   `json:"selector"`
		TargetRefs []api.TargetRef `json:"targetRefs"`
		DryRun     bool            `json:"dryRun"`
	}
	for _, f := range []struct {
		name string
		to   any
	}{{"selector", &target.Selector}, {"targetRefs", &target.TargetRefs}, {"dryRun", &target.DryRun}} {
		broken := c.has("spec."+f.name) || !readInto(field(field(n, "spec"), f.name), f.to)
		if broken && f.name != "dryRun" {
			return nil
		}
	}
	named := target.Selector != nil && len(target.Selector.MatchLabels) > 0 || len(target.TargetRefs) > 0
	if target.Selector != nil && len(target.TargetRefs) > 0 || !named && c.beside(bodies[k.name]) {
		return nil
	}
	meta := metav1.ObjectMeta{Name: at.name, Namespace: at.namespace}
	switch k.name {
	case "PeerAuthentication":
		return &api.PeerAuthentication{ObjectMeta: meta, Spec: api.PeerAuthenticationSpec{Selector: target.Selector}}
	case "RequestAuthentication":
		return &api.RequestAuthentication{ObjectMeta: meta, Spec: api.RequestAuthenticationSpec{TargetRefs: target.TargetRefs}}
	}
	return &api.AuthorizationPolicy{ObjectMeta: meta, Spec: api.AuthorizationPolicySpec{
		Selector: target.Selector, TargetRefs: target.TargetRefs, DryRun: target.DryRun}}
}

// has reports a problem at a path or below it.
func (c *checker) has(path string) bool {
	return slices.ContainsFunc(c.problems, func(p Problem) bool { return within(p.Path, path) })
}

// beside reports a problem elsewhere than at or below the paths.
func (c *checker) beside(paths []string) bool {
	return slices.ContainsFunc(c.problems, func(p Problem) bool {
		return !slices.ContainsFunc(paths, func(path string) bool { return within(p.Path, path) })
	})
}

func within(p, path string) bool {
	rest, ok := strings.CutPrefix(p, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// field is the value of a map's key, nil where it is not there.
func field(n *yaml.Node, name string) *yaml.Node {
	if n == nil || deref(n).Kind != yaml.MappingNode {
		return nil
	}
	for _, p := range pairs(deref(n), 0) {
		if p.key.Value == name {
			return deref(p.value)
		}
	}
	return nil
}

// readInto reports whether a node could be read; nothing is there to be read of nil.
func readInto(n *yaml.Node, to any) bool {
	if n == nil {
		return true
	}
	plain, err := new(expansion).value(n)
	if err != nil {
		return false
	}
	data, err := json.Marshal(plain)
	return err == nil && json.Unmarshal(data, to) == nil
}

// why joins what is wrong.
func (c *checker) why() string {
	var all []string
	for _, p := range c.problems {
		text := p.Message
		if p.Path != "" {
			text = p.Path + ": " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// asUnread hands on an entry that was salvaged.
func (e entry) asUnread() Unread {
	u := Unread{Origin: e.origin, Why: e.unread}
	switch o := e.object.(type) {
	case *api.AuthorizationPolicy:
		u.AuthorizationPolicy = o
	case *api.PeerAuthentication:
		u.PeerAuthentication = o
	case *api.RequestAuthentication:
		u.RequestAuthentication = o
	}
	return u
}
