package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func faultYAML(end string) string {
	return service("cart", 80, "") + fmt.Sprintf(`apiVersion: weft.dev/v1alpha1
kind: Fault
metadata: {name: cut, namespace: shop, creationTimestamp: %q}
spec:
  targetRefs: [{kind: Service, name: cart}]
  %s
  rules: [{connection: {refuse: {percentage: 100}}}]
---
`, time.Now().UTC().Format(time.RFC3339), end)
}

// A fault ends by itself, by expires and by ttl, though no object changes: the controller wakes up for it.
func TestFaultsEndByThemselves(t *testing.T) {
	for _, c := range []struct{ name, later, soon string }{
		{"expires", "expires: \"2099-01-01T00:00:00Z\"", fmt.Sprintf("expires: %q", time.Now().Add(3*time.Second).UTC().Format(time.RFC3339))},
		{"ttl", "ttl: 9000h", "ttl: 2s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.write("src/a.yaml", faultYAML(c.later))
			address, _ := b.start()
			z := b.ztunnel(address)
			inForce := func() bool { s := z.service("cart"); return s != nil && len(s.Faults) == 1 }
			eventually(t, "the fault is in force", inForce)
			eventually(t, "it is counted", func() bool { return strings.Contains(b.page("/metrics"), "weft_faults_active 1") })
			b.write("src/a.yaml", faultYAML(c.soon))
			eventually(t, "it has ended", func() bool { return z.service("cart") != nil && !inForce() })
			eventually(t, "and is not counted", func() bool { return strings.Contains(b.page("/metrics"), "weft_faults_active 0") })
			eventually(t, "its status says so", func() bool { return strings.Contains(b.page("/debug/status"), "Expired") })
		})
	}
}
