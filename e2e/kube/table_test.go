package kube

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// table is what operations cost, as Markdown.
type table struct{ rows []string }

func newTable() *table {
	return &table{rows: []string{
		"# Operations under load", "",
		"Calls of seven kinds and ways (HTTP on new and kept connections, gRPC, TCP lines through a connection that lives all the",
		"time; to the same node, to the other, to both), 20 a second each. Clear-text packets are those with the mark that every",
		"call carries, and any bytes between two pods of the mesh past port 15008, on the links of all nodes.", "",
		"| operation | seconds | calls sent | failed | long-lived connections broken | longest gap | clear-text packets | TLS bytes on the links |",
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
	}}
}

func (t *table) add(name string, took time.Duration, c harness.Count, w harness.WireReport) {
	t.rows = append(t.rows, fmt.Sprintf("| %s | %.1f | %d | %d | %d | %d ms | %d | %d |",
		name, took.Seconds(), c.Sent, c.Failed-c.Broken, c.Broken, c.LongestGapMs, len(w.Clear), w.Tunnel))
}

func (t *table) write(file string) error {
	return os.WriteFile(file, []byte(strings.Join(t.rows, "\n")+"\n"), 0o644)
}
