package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What was measured is drawn beside the file and shown there; what was not is left out.
func TestPictures(t *testing.T) {
	r := &report{Rounds: 1, Thrown: map[string][]int{}}
	for i, path := range []string{"direct", "l4", "nginx"} {
		for _, v := range []value{{name: "p50", unit: "µs"}, {name: "p90", unit: "µs"}, {name: "p99", unit: "µs"}, {name: "p99.9", unit: "µs"}} {
			r.add("rate", v, path, 0, 100+float64(i))
		}
		if path != "direct" {
			r.add("up1", value{name: "CPU", unit: "s/GB"}, path, 0, float64(i))
		}
	}
	r.summarise()
	file := filepath.Join(t.TempDir(), "p.md")
	if err := os.WriteFile(file, []byte(beginMark+"\n"+endMark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.rewrite(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"cpu-per-gb": {"1 stream up", "Weft L4", "nginx"}, "latency": {"p99.9", "direct", "Weft L4", "nginx"}, "per-second": nil} {
		if shown := bytes.Contains(text, []byte("("+plotsDir+"/"+name+".svg)")); shown != (want != nil) {
			t.Errorf("%s is shown: %v", name, shown)
		}
		if want == nil {
			continue
		}
		svg, err := os.ReadFile(filepath.Join(filepath.Dir(file), plotsDir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		words := textOf(t, svg)
		for _, w := range want {
			if !strings.Contains(words, w) {
				t.Errorf("%s does not say %q: %s", name, w, words)
			}
		}
	}
}

// textOf is what an SVG says in words.
func textOf(t *testing.T, svg []byte) string {
	t.Helper()
	var words strings.Builder
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words.String()
		}
		if err != nil {
			t.Fatalf("no SVG: %v", err)
		}
		if data, ok := token.(xml.CharData); ok {
			words.Write(data)
		}
	}
}
