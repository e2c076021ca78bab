// Package checks decides what is wrong, or will be, with a cluster that Weft is or shall be installed on.
//
// Gather asks the cluster once; the checks themselves are pure functions of those Facts, in groups. Every
// finding that is not OK has a hint: what to do. weftctl check, install and bug-report are the callers.
package checks

import "context"

// Level is how a check ended.
type Level string

// Levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // it works, but not as one might think
	Failed  Level = "failed"  // it does not, or will not, work
)

// Result is one line of `check`.
type Result struct {
	Group  string `json:"group"`
	Name   string `json:"name"` // what is true when it is OK
	Level  Level  `json:"level"`
	Detail string `json:"detail,omitempty"` // what was found
	Hint   string `json:"hint,omitempty"`   // what to do
}

// Group is a named list of checks.
type Group struct {
	Name string
	Run  func(*Facts) []Result
}

// Preflight is what must hold before Weft is installed, and stays true afterwards.
var Preflight = []Group{
	{"kubernetes", kubernetes}, {"rights", rights}, {"gateway api", gatewayAPI}, {"nodes", nodes},
	{"network plugin", networkPlugin}, {"other meshes", otherMeshes}, {"labels", labels},
}

// Installed is what must hold of a Weft that runs.
var Installed = []Group{
	{"kubernetes", kubernetes}, {"gateway api", gatewayAPI}, {"resources", resources}, {"controller", controller}, {"nodes", nodes}, {"agents and ztunnels", nodePrograms},
	{"kernels", kernels}, {"certificates", certificates}, {"enrolment", enrolment}, {"configuration", configuration},
	{"network policies", networkPolicies}, {"network plugin", networkPlugin}, {"other meshes", otherMeshes}, {"labels", labels},
}

// Run gathers facts and runs the groups. Its results are ordered as the groups are.
func Run(ctx context.Context, o Options, groups []Group) ([]Result, *Facts) {
	f := Gather(ctx, o)
	return Judge(f, groups), f
}

// Judge runs the groups on facts.
func Judge(f *Facts, groups []Group) []Result {
	if f.Unreachable != nil { // all else would only say it again
		return []Result{{Group: "kubernetes", Name: "the API server answers", Level: Failed, Detail: f.Unreachable.Error(),
			Hint: "choose the cluster (--context, --kubeconfig), and see that `kubectl version` works"}}
	}
	var all []Result
	for _, g := range groups {
		for _, r := range g.Run(f) {
			r.Group = g.Name
			all = append(all, r)
		}
	}
	return all
}

// Worst is the worst level among results.
func Worst(all []Result) Level {
	worst := OK
	for _, r := range all {
		if r.Level == Failed || r.Level == Warning && worst == OK {
			worst = r.Level
		}
	}
	return worst
}

func ok(name, detail string) Result { return Result{Name: name, Level: OK, Detail: detail} }

func warn(name, detail, hint string) Result {
	return Result{Name: name, Level: Warning, Detail: detail, Hint: hint}
}

func fail(name, detail, hint string) Result {
	return Result{Name: name, Level: Failed, Detail: detail, Hint: hint}
}

// unknown is for what could not be looked at.
func unknown(name string, err error) Result {
	return warn(name, "could not be looked at: "+err.Error(), "ask somebody with the right to read it")
}
