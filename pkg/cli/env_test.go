package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Colour only reaches a terminal, and not one whose owner does not want it.
func TestColour(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	defer tty.Close()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		out           *os.File
		noColor, term string
		want          bool
	}{{tty, "", "xterm", true}, {tty, "1", "xterm", false}, {tty, "", "dumb", false}, {file, "", "xterm", false}} {
		t.Setenv("NO_COLOR", c.noColor)
		t.Setenv("TERM", c.term)
		if got := wantColor(c.out); got != c.want {
			t.Errorf("%s, NO_COLOR=%q, TERM=%q: %v, want %v", c.out.Name(), c.noColor, c.term, got, c.want)
		}
	}
	for _, color := range []bool{true, false} {
		var out bytes.Buffer
		e := &env{stdout: &out, color: color}
		e.printAnswer(&answer{verdict: refused, source: "a", destination: "b"})
		if got := strings.Contains(out.String(), "\x1b["); got != color {
			t.Errorf("colour %v: %q", color, out.String())
		}
	}
}
