package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// hop is what one figure of the waypoint's path says beside Envoy alone: two plain reverse proxies with mutual
// TLS between them, at the same place, in the same run. Latencies are given as what each adds to the direct
// path. All are medians over the rounds that count, of differences and quotients within a round.
type hop struct {
	Figure string `json:"figure"`
	Unit   string `json:"unit"`
	// Waypoint is the whole way: ztunnel, the waypoint's Envoy, ztunnel.
	Waypoint float64 `json:"waypoint"`
	// Hop is Waypoint without what the way through the ztunnels alone costs (of requests/s: its quotient).
	Hop float64 `json:"hop"`
	// Envoy is the pair of plain Envoys.
	Envoy float64 `json:"envoy"`
	// Ratio is Waypoint ÷ Envoy.
	Ratio float64 `json:"ratio"`
}

// hopFigures are read in this order. CPU in µs a request is ms per 1,000.
var hopFigures = []struct {
	test, value, figure, unit string
	added                     bool // beyond the direct path
	speed                     bool // more is better: the hop is a quotient
}{
	{"rate", "p50", "added p50 at 1,000/s", "µs", true, false},
	{"rate", "p99", "added p99 at 1,000/s", "µs", true, false},
	{"rate", "CPU", "CPU per 1,000 requests at 1,000/s", "ms", false, false},
	{"max", "requests", "requests/s, 64 connections", "/s", false, true},
	{"max", "CPU", "CPU per 1,000 requests, 64 connections", "ms", false, false},
}

// weigh compares; nothing where a path was not measured.
func (r *report) weigh() {
	r.Hops = nil
	for _, f := range hopFigures {
		direct, l4 := r.find(f.test, f.value, "direct"), r.find(f.test, f.value, "l4")
		l7, envoy := r.find(f.test, f.value, "l7"), r.find(f.test, f.value, "envoy")
		if l7 == nil || l4 == nil || envoy == nil || (f.added && direct == nil) {
			continue
		}
		base := func(int) float64 { return 0 }
		if f.added {
			base = func(i int) float64 { return direct.Rounds[i] }
		}
		over := func(of func(i int) float64) float64 { return median(r.counting(f.test, len(l7.Rounds), of)) }
		h := hop{Figure: f.figure, Unit: f.unit}
		h.Waypoint = over(func(i int) float64 { return l7.Rounds[i] - base(i) })
		h.Envoy = over(func(i int) float64 { return envoy.Rounds[i] - base(i) })
		h.Hop = over(func(i int) float64 {
			if f.speed {
				return l7.Rounds[i] / l4.Rounds[i]
			}
			return l7.Rounds[i] - l4.Rounds[i]
		})
		h.Ratio = over(func(i int) float64 { return (l7.Rounds[i] - base(i)) / (envoy.Rounds[i] - base(i)) })
		r.Hops = append(r.Hops, h)
	}
}

// hopRows are the lines of the comparison, its head first; none if nothing was compared.
func (r *report) hopRows() [][]string {
	if len(r.Hops) == 0 {
		return nil
	}
	rows := [][]string{{"the waypoint beside Envoy alone", "Weft waypoint", "of it the hop", "Envoy alone", "ratio"}}
	for _, h := range r.Hops {
		of := number(h.Hop)
		if h.Unit == "/s" {
			of = "× " + of
		}
		rows = append(rows, []string{h.Figure + ", " + h.Unit, number(h.Waypoint), of, number(h.Envoy), number(h.Ratio)})
	}
	return rows
}

// printRows is a table for terminals.
func printRows(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

// markdown is the same in Markdown.
func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		if i == 0 {
			b.WriteString("\n")
		}
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}
