package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// The controller fetches the modules of extensions, says so while it cannot, and goes on by itself.
func TestModulesAreFetched(t *testing.T) {
	code := []byte("\x00asm\x01\x00\x00\x00")
	var up atomic.Bool
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(code)
	}))
	defer h.Close()
	b := newBench(t)
	b.c.modules = h.Client()
	b.write("src/a.yaml", service("cart", 80, "")+fmt.Sprintf(`apiVersion: weft.dev/v1alpha1
kind: Extension
metadata: {name: x, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  wasm: {url: %q, sha256: %x}
---
`, h.URL+"/m.wasm", sha256.Sum256(code)))
	b.start()
	failing := func() bool { return strings.Contains(b.page("/debug/status"), "the module cannot be fetched") }
	eventually(t, "the failure is in the status", failing)
	up.Store(true)
	eventually(t, "the next attempt succeeds", func() bool { return !failing() })
}
