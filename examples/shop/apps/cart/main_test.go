package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// bank answers like payments, with the given lines.
func bank(t *testing.T, lines ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 256)
		for i, line := range lines {
			if i > 0 {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
			fmt.Fprintf(c, "%s\r\n", line)
		}
	}()
	return l.Addr().String()
}

func TestCharge(t *testing.T) {
	got, err := charge(bank(t, "220 ready", "250 charged 5, receipt 1", "221 bye"), 5, "4929")
	if err != nil || got != "250 charged 5, receipt 1" {
		t.Errorf("%q, %v", got, err)
	}
	for name, c := range map[string]struct{ addr, card, want string }{
		"refused card":  {bank(t, "220 ready", "501 no"), "4929", "501 no"},
		"no greeting":   {bank(t), "4929", "greeting"},
		"injected line": {"unused", "1\r\nCHARGE 1 2", "white space"},
		"nobody there":  {"127.0.0.1:1", "4929", "refused"},
	} {
		if _, err := charge(c.addr, 5, c.card); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
