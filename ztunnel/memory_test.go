package ztunnel_test

import (
	"testing"
)

// A ztunnel that has little memory left refuses new connections, at either end, and says so; those that live go on,
// and when there is room again new ones are taken.
func TestLittleMemoryRefusesWhatIsNew(t *testing.T) {
	m := shop(t)
	living := m.pods["front-1"].app("10.244.2.1:8080")
	if got, err := say(living, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	fresh := func() bool {
		_, err := say(m.pods["front-1"].app("10.244.2.1:8080"), "hello")
		return err == nil
	}
	for name, direction := range map[string]string{"n1": "outbound", "n2": "inbound"} {
		n := m.nodes[name]
		n.memory.Store(900 << 20)
		until(t, name+" refuses", func() bool { return !fresh() })
		n.record(t, map[string]any{"direction": direction, "flags": "UO", "cause": "ztunnel's memory is nearly used up: 900 of 1000 MiB"})
		if got, err := say(living, "again"); err != nil || got != "again" {
			t.Errorf("%s: the connection that lives: %q, %v", name, got, err)
		}
		n.memory.Store(100 << 20)
		until(t, name+" takes connections again", fresh)
	}
}
