// Package weft_test holds what is true of the whole tree.
package weft_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/weftmesh/weft/"

// floors is the height of each package, longest prefix wins. A package may import only lower floors;
// packages of one subtree (ztunnel/dns and ztunnel) share a floor and may import each other.
var floors = map[string]int{
	"internal/version": -1, "internal/kubetest": -1, "internal/profile": -1, "pkg/identity": -1, // leaves that plain data is made of
	"pkg/api": 0, "pkg/model": 0, "charts": 0, "proto": 0,
	"pkg/policy": 1, "pkg/index": 1, "pkg/hbone": 1, "pkg/netns": 1, "pkg/telemetry": 1, "pkg/direct": 1, "pkg/jwks": 1, "pkg/modules": 1,
	"bpf": 2, "pkg/ca": 2, "pkg/zds": 2,
	"pkg/enroll": 3, "pkg/cni": 3, "pkg/xds": 3, "pkg/source": 3, "ztunnel": 3, "waypoint": 3,
	"pkg/controller": 4, "pkg/lab": 4,
	"pkg/cli": 5, "cmd": 6, "examples": 0, // examples import nothing of ours but each other
}

// productMay import of istio.io/istio: the wire messages and nothing else.
var istioAllowed = []string{"istio.io/istio/pkg/workloadapi", "istio.io/istio/pkg/zdsapi"}

func TestImportsGoDown(t *testing.T) {
	for _, p := range listPackages(t) {
		self := strings.TrimPrefix(p.ImportPath, module)
		from, root, ok := floorOf(self)
		if p.ImportPath == strings.TrimSuffix(module, "/") {
			continue
		}
		if !ok {
			t.Errorf("%s stands on no floor: add it to floors in this test and to docs/architecture.md", self)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			to, depRoot, ok := floorOf(dep)
			if ok && root != depRoot && to >= from {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports only go down", self, from, dep, to)
			}
		}
	}
}

func TestIstioIsOnlyMessages(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "istio.io/istio/") && !allowed(imp) {
				t.Errorf("%s imports %s: product code takes only the messages of Istio", p.ImportPath, imp)
			}
		}
	}
}

func allowed(imp string) bool {
	for _, a := range istioAllowed {
		if imp == a || strings.HasPrefix(imp, a+"/") {
			return true
		}
	}
	return false
}

func floorOf(pkg string) (floor int, root string, ok bool) {
	for p := pkg; p != "."; {
		if f, ok := floors[p]; ok {
			return f, p, true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			break
		}
		p = p[:i]
	}
	return 0, "", false
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}
