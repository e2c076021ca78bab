package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/waypoint/bootstrap"
)

// finding is one line of `check --machine`.
type finding struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Advice   string `json:"advice"` // what it is for, or what is missing and how to get it
}

// checkMachine looks at everything that this user may look at.
func checkMachine(uid int) []finding {
	out := []finding{kernelVersion(), {Name: "privileges", OK: uid == 0, Required: true, Advice: "load eBPF, make network namespaces and cgroups"}}
	if uid == 0 {
		out = append(out, kernelFindings(bpf.Probe())...)
	} else {
		out[1].Advice = "not root, so nothing of the kernel could be tried: sudo weftctl check --machine"
	}
	return append(out, programFindings()...)
}

// kernelVersion is for people to compare; what counts is what the kernel does when it is tried.
func kernelVersion() finding {
	f := finding{Name: "kernel", OK: true}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Advice = err.Error()
		return f
	}
	f.Advice = fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	return f
}

func kernelFindings(features []bpf.Feature) []finding {
	var out []finding
	for _, f := range features {
		line := finding{Name: f.Name, OK: f.Have, Required: f.Required, Advice: f.Why}
		if !f.Have {
			line.Advice = fmt.Sprintf("needs %s: %s (%v)", f.Need, f.Why, f.Err)
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
		line := finding{Name: name, OK: err == nil, Advice: path}
		if err != nil {
			line.Advice = "not beside weftctl; a lab needs it (make build)"
		}
		out = append(out, line)
	}
	path, err := bootstrap.FindEnvoy("")
	line := finding{Name: "envoy", OK: err == nil, Advice: path}
	if err != nil {
		line.Advice = "waypoints of a lab need it; " + err.Error()
	}
	return append(out, line)
}

func (e *env) printFindings(all []finding, output string) error {
	missing := 0
	for _, f := range all {
		if !f.OK && f.Required {
			missing++
		}
	}
	if output != "" {
		if err := e.printData(all, output); err != nil {
			return err
		}
	} else {
		e.printFindingTable(all)
		if missing == 0 {
			fmt.Fprintln(e.stdout, "\nThis machine can be a node of the mesh.")
		}
	}
	if missing > 0 {
		return &exitError{1, fmt.Errorf("%d required things are missing: this machine cannot be a node of the mesh", missing)}
	}
	return nil
}

func (e *env) printFindingTable(all []finding) {
	t := newTable("CHECK", "RESULT", "WHAT FOR, OR WHAT IS MISSING")
	for _, f := range all {
		result := e.green("ok")
		switch {
		case !f.OK && f.Required:
			result = e.red("MISSING")
		case !f.OK:
			result = e.paint("33", "absent")
		}
		t.row(f.Name, result, f.Advice)
	}
	t.print(e.stdout)
}
