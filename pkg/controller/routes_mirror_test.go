package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A mirror's share is a percentage or a fraction; what is neither is not guessed.
func TestMirrorShares(t *testing.T) {
	for text, want := range map[string]uint32{
		"": 100_000, "percent: 0": 0, "percent: 10": 10_000, "percent: 100": 100_000, "percent: 101": 0, "percent: -1": 0,
		"fraction: {numerator: 5}": 5_000, "fraction: {numerator: 1, denominator: 1000}": 100, "fraction: {numerator: 0, denominator: 7}": 0,
		"fraction: {numerator: 8, denominator: 7}": 0, "fraction: {numerator: 1, denominator: 0}": 0,
	} {
		file := filepath.Join(t.TempDir(), "mirror.yaml")
		comma := ""
		if text != "" {
			comma = ", "
		}
		err := os.WriteFile(file, []byte(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}%s%s}}]
    backendRefs: [{name: cart, port: 80}]
`, comma, text)), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		snap, _, _ := compileFiles(t, file)
		rule := snap.Routes["HTTPRoute/shop/cart@shop/cart.shop.svc.cluster.local"].Rules[0]
		if rule.Invalid != "" {
			if want != 0 || len(rule.Mirrors) > 0 {
				t.Errorf("%q: %s, mirrors %v", text, rule.Invalid, rule.Mirrors)
			}
			continue
		}
		if len(rule.Mirrors) != 1 || rule.Mirrors[0].Weight != want {
			t.Errorf("%q: %v, want %d", text, rule.Mirrors, want)
		}
	}
}
