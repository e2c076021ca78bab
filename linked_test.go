package weft_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A ztunnel runs on every node: what it links stands in its memory there. Types of Kubernetes, Envoy's
// configuration and the server of discovery were a third of it once.
func TestZtunnelLinksLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace", "./cmd/weft-ztunnel").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, heavy := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/envoyproxy/go-control-plane/pkg/", "github.com/envoyproxy/go-control-plane/envoy/config/listener/",
			"golang.org/x/net/trace", "html/template", module + "pkg/api", module + "pkg/controller"} {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("weft-ztunnel links %s: go list -deps shows by which way", p)
			}
		}
	}
}
