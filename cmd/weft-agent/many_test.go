package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A namespace of many pods is labelled: all of them are captured and announced, and all are taken off again.
func TestNamespaceOfManyPods(t *testing.T) {
	n := newNode(t)
	const pods = 30
	for i := range pods {
		n.addPod(fmt.Sprintf("p%d", i), fmt.Sprintf("10.78.1.%d", i+1))
	}
	n.write("none")
	n.agent()
	n.ztunnel("z")
	eventually(t, "agent and ztunnel", func() bool {
		body, err := n.get("/metrics")
		return err == nil && strings.Contains(body, "weft_agent_ztunnels_connected 1")
	})
	inState := func(what string) bool {
		body, err := n.get("/metrics")
		return err == nil && strings.Contains(body, fmt.Sprintf("weft_agent_pods{state=%q} %d\n", what, pods)) &&
			strings.Contains(body, "weft_agent_pods{state=\"leaving\"} 0\n")
	}
	eventually(t, "all are left alone", func() bool { return inState("ignored") })
	for round := range 2 {
		start := time.Now()
		n.write("ambient")
		first := time.Duration(0)
		eventually(t, "all are in the mesh", func() bool {
			if first == 0 && n.announced("p0") {
				first = time.Since(start)
			}
			return inState("enrolled")
		})
		t.Logf("round %d: pod p0 announced after %v, all %d after %v", round, first, pods, time.Since(start))
		for i := range pods {
			if name := fmt.Sprintf("p%d", i); !n.announced(name) || n.rules(name) == 0 {
				t.Errorf("%s: announced %v, %d rules", name, n.announced(name), n.rules(name))
			}
		}
		start = time.Now()
		n.write("none")
		eventually(t, "none is in the mesh", func() bool { return inState("ignored") })
		t.Logf("round %d: all %d taken off after %v, of which 200 ms linger", round, pods, time.Since(start))
		for i := range pods {
			if name := fmt.Sprintf("p%d", i); n.announced(name) || n.rules(name) != 0 {
				t.Errorf("%s is left behind: announced %v, %d rules", name, n.announced(name), n.rules(name))
			}
		}
	}
}
