package main

import (
	"io"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
)

func TestFlagsThatAreWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"--node is required":          {"--node="},
		"--node \"a/b\"":              {"--node=a/b"},
		"--source is required":        {"--source="},
		"want dir:PATH":               {"--source=kube"},
		"--netns-pattern is required": {"--netns-pattern="},
		"want an absolute path with":  {"--netns-pattern=/run/netns/x"},
		"--status-dir is required":    {"--status-dir="},
		"--log-level":                 {"--log-level=loud"},
		"--log-format":                {"--log-format=xml"},
		"--bpf-root":                  {"--bpf-root=here"},
		"unknown command":             {"x"},
	} {
		cmd := command()
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		base := []string{"--node=n1", "--source=dir:/nonexistent", "--netns-pattern=/run/netns/{namespace}-{name}", "--status-dir=/nonexistent"}
		if want == "--source is required" {
			base, args = []string{base[0], base[2], base[3]}, nil
		}
		cmd.SetArgs(append(base, args...))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

func TestStateOfBrokenSource(t *testing.T) {
	for name, c := range map[string]struct {
		problem  source.Problem
		complete bool
	}{
		"a pod":                   {source.Problem{Severity: source.Error, Kind: "Pod"}, false},
		"a file without kinds":    {source.Problem{Severity: source.Error}, false},
		"a pod with a last good":  {source.Problem{Severity: source.Error, Kind: "Pod", LastGood: true}, true},
		"a warning about a pod":   {source.Problem{Severity: source.Warning, Kind: "Pod"}, true},
		"a policy":                {source.Problem{Severity: source.Error, Kind: "AuthorizationPolicy"}, true},
		"a namespace, see Decide": {source.Problem{Severity: source.Error, Kind: "Namespace"}, true},
	} {
		if got := stateOf(&source.Objects{}, []source.Problem{c.problem}); got.Complete != c.complete {
			t.Errorf("%s: complete %v", name, got.Complete)
		}
	}
	if s := stateOf(&source.Objects{}, nil); !s.Complete || len(enroll.Decide("n", s)) != 0 {
		t.Error(s)
	}
}
