package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/e2e/bench/profile"
)

// profileRows are the tables of profiles: CPU by kind, the kernel's part, system calls, waits.
func (r *report) profileRows() (tables [][][]string) {
	if len(r.Profiles) == 0 {
		return nil
	}
	head := []string{}
	total := []string{"all"}
	for _, p := range r.Profiles {
		head = append(head, p.Label)
		total = append(total, fmt.Sprintf("**%s**", costOf(p, 1)))
	}
	table := func(name string, kinds []string, of func(*profiled) map[string]float64, cell func(*profiled, float64) string) [][]string {
		rows := [][]string{append([]string{name}, head...)}
		for _, kind := range kinds {
			row, any := []string{kind}, false
			for _, p := range r.Profiles {
				x, ok := of(p)[kind]
				if any = any || ok; ok {
					row = append(row, cell(p, x))
				} else {
					row = append(row, "–")
				}
			}
			if any {
				rows = append(rows, row)
			}
		}
		return rows
	}
	share := func(p *profiled, x float64) string { return fmt.Sprintf("%s (%.0f %%)", costOf(p, x), 100*x) }
	cpu := table("CPU of both ztunnels", profile.Kinds, func(p *profiled) map[string]float64 { return p.Shares }, share)
	tables = append(tables, append(cpu, total))
	var kinds []string
	for _, k := range kernelKinds {
		kinds = append(kinds, k.kind)
	}
	tables = append(tables,
		table("of it in the kernel (perf)", kinds, func(p *profiled) map[string]float64 { return p.Kernel }, share),
		table("system calls a GB or a request", counted, func(p *profiled) map[string]float64 { return p.Calls }, func(_ *profiled, x float64) string { return number(x) }))
	waits := [][]string{{"ready to run, but waiting", "node and goroutines", "within a second"}}
	for _, p := range r.Profiles {
		for _, who := range sortedKeys(p.Waits) {
			if strings.HasSuffix(who, " others") {
				continue
			}
			waits = append(waits, []string{p.Label, who, p.Waits[who]})
		}
	}
	return append(tables, waits)
}

// costOf is the cost of a share of a unit.
func costOf(p *profiled, share float64) string {
	if p.Unit == "GB" {
		return number(p.Cost*share) + " s/GB"
	}
	return number(p.Cost*share) + " µs"
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// drawProfiles makes the flame graphs in the folder of plots beside a Markdown file, and returns what it says of them.
func (r *report) drawProfiles(file string) (string, error) {
	dir := filepath.Join(filepath.Dir(file), plotsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s.\n", r.When.Format("2006-01-02"), r.Machine)
	for _, p := range r.Profiles {
		svg := profile.Flame(p.merged, p.Label+": CPU of both ztunnels, "+costOf(p, 1)+" a "+p.Unit)
		name := "flame-" + p.Scene + ".svg"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(svg), 0o644); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n![%s](%s/%s)\n", p.Label, plotsDir, name)
	}
	for _, rows := range r.profileRows() {
		if len(rows) > 1 {
			b.WriteString(markdown(rows))
		}
	}
	return b.String(), nil
}
