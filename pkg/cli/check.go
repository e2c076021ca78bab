package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/bpf"
)

// finding is one line of `check`.
type finding struct {
	name     string
	ok       bool
	required bool
	advice   string // what is needed and why, or what was found
}

func newCheck(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check whether this machine can be a node of the mesh: kernel, cgroups, programs",
		Long:  "Tries each thing that the mesh needs, changing nothing. Exit code 1 when something required is missing.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return errors.New("only root can try what the kernel offers: sudo weftctl check")
			}
			return e.printFindings(append(kernelFindings(bpf.Probe()), programFindings()...))
		},
	}
}

func kernelFindings(features []bpf.Feature) []finding {
	var out []finding
	for _, f := range features {
		line := finding{name: f.Name, ok: f.Have, required: f.Required, advice: f.Why}
		if !f.Have {
			line.advice = fmt.Sprintf("needs %s: %s (%v)", f.Need, f.Why, f.Err)
		}
		out = append(out, line)
	}
	return out
}

// programFindings looks for what a lab starts; a node of a cluster brings its own in images.
func programFindings() []finding {
	var out []finding
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	for _, name := range []string{"weft-controller", "weft-agent", "weft-ztunnel", "weft-waypoint"} {
		path := filepath.Join(filepath.Dir(self), name)
		_, err := os.Stat(path)
		line := finding{name: name, ok: err == nil, advice: path}
		if err != nil {
			line.advice = "not beside weftctl; a lab needs it (make build)"
		}
		out = append(out, line)
	}
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		envoy = "envoy"
	}
	path, err := exec.LookPath(envoy)
	line := finding{name: "envoy", ok: err == nil, advice: path}
	if err != nil {
		line.advice = "not in PATH nor in $WEFT_ENVOY; waypoints of a lab need it (make envoy)"
	}
	return append(out, line)
}

func (e *env) printFindings(all []finding) error {
	t := newTable("CHECK", "RESULT", "WHAT FOR")
	missing := 0
	for _, f := range all {
		result := e.green("ok")
		switch {
		case !f.ok && f.required:
			result = e.red("MISSING")
			missing++
		case !f.ok:
			result = e.paint("33", "absent")
		}
		t.row(f.name, result, f.advice)
	}
	t.print(e.stdout)
	if missing > 0 {
		return &exitError{1, fmt.Errorf("%d required things are missing: this machine cannot be a node of the mesh", missing)}
	}
	fmt.Fprintln(e.stdout, "\nThis machine can be a node of the mesh.")
	return nil
}
