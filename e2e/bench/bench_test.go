package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample(direct ...float64) *report {
	r := &report{Rounds: len(direct), Thrown: map[string][]int{}}
	for i, x := range direct {
		r.add("up1", speed, "direct", i, x)
		r.add("up1", speed, "l4", i, x/2)
		r.add("up1", mPerGB, "direct", i, 1)
		r.add("up1", mPerGB, "l4", i, 3)
	}
	return r
}

func TestRoundsThatStrayDoNotCount(t *testing.T) {
	r := sample(10, 11, 4, 9, 10)
	r.summarise()
	if got := r.Thrown["up1"]; len(got) != 1 || got[0] != 3 {
		t.Errorf("thrown away: %v, want round 3", got)
	}
	l4 := r.find("up1", "speed", "l4")
	if l4.Median != 5 || l4.Lowest != 4.5 || l4.Highest != 5.5 {
		t.Errorf("of the others: %+v", l4)
	}
	if !strings.Contains(r.remarks(), "Rounds [3]") {
		t.Errorf("the reader is not told: %s", r.remarks())
	}
	if m := r.find("up1", "machine", "l4").Median; m != 2 {
		t.Errorf("the machine's cost beyond the direct path is %v, want 2", m)
	}
}

func TestAMachineThatIsNeverQuiet(t *testing.T) {
	r := sample(1, 1, 10, 10)
	r.summarise()
	if len(r.Thrown) != 0 || len(r.Noisy) != 1 || r.find("up1", "speed", "direct").Median != 5.5 {
		t.Errorf("thrown away %v, noisy %v", r.Thrown, r.Noisy)
	}
	if !strings.Contains(r.remarks(), "not quiet") {
		t.Errorf("the reader is not told: %s", r.remarks())
	}
}

func TestTableGoesBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.md")
	text := "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sample(10, 11, 9)
	r.summarise()
	for range 2 {
		if err := r.rewrite(file); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(file)
	s := string(got)
	if !strings.HasPrefix(s, "before\n"+beginMark) || !strings.HasSuffix(s, endMark+"\nafter\n") || strings.Contains(s, "old") {
		t.Errorf("the file is now\n%s", s)
	}
	if !strings.Contains(s, "| 1 stream up | speed, Gb/s | 10.0 (9.00…11.0) | 5.00 (4.50…5.50) |") {
		t.Errorf("no row of speeds in\n%s", s)
	}
	if err := os.WriteFile(file, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.rewrite(file) == nil {
		t.Error("a file without markers was rewritten")
	}
}

// What the waypoint's path costs is held against Envoy alone round by round, not by medians of each.
func TestWaypointBesideEnvoy(t *testing.T) {
	r := &report{Rounds: 3, Thrown: map[string][]int{}}
	for i, noise := range []float64{0, 100, 10} {
		for path, us := range map[string]float64{"direct": 100, "l4": 250, "l7": 600, "envoy": 350} {
			r.add("rate", tests[4].values[0], path, i, us+noise)
		}
		for path, n := range map[string]float64{"l4": 20_000, "l7": 6000, "envoy": 8000} {
			r.add("max", perSecond("requests"), path, i, n)
			r.add("max", perReq, path, i, 1e6/n)
		}
	}
	r.summarise()
	got := map[string]hop{}
	for _, h := range r.Hops {
		got[h.Figure] = h
	}
	if h := got["added p50 at 1,000/s"]; h.Waypoint != 500 || h.Hop != 350 || h.Envoy != 250 || h.Ratio != 2 {
		t.Errorf("p50: %+v", h)
	}
	if h := got["requests/s, 64 connections"]; h.Waypoint != 6000 || h.Hop != 0.3 || h.Envoy != 8000 || h.Ratio != 0.75 {
		t.Errorf("requests/s: %+v", h)
	}
	if h := got["CPU per 1,000 requests, 64 connections"]; h.Envoy != 125 || math.Abs(h.Ratio-4.0/3) > 1e-9 {
		t.Errorf("CPU: %+v", h)
	}
	if table := markdown(r.hopRows()); len(r.Hops) != 3 || !strings.Contains(table, "| added p50 at 1,000/s, µs | 500 | 350 | 250 | 2.00 |") {
		t.Errorf("%d figures, table\n%s", len(r.Hops), table)
	}
	for _, s := range r.Series {
		if s.Path == "envoy" {
			s.Path = "another"
		}
	}
	if r.weigh(); len(r.Hops) != 0 || markdown(r.hopRows()) != "" {
		t.Errorf("without Envoy: %+v", r.Hops)
	}
}

// What pods of one node pay is held against bare ones round by round, in a table of its own.
func TestNear(t *testing.T) {
	r := &report{Rounds: 3, Thrown: map[string][]int{}}
	for i, noise := range []float64{1, 2, 4} {
		for path, us := range map[string]float64{"direct": 50, "near": 40, "same": 60} {
			r.add("rate", tests[4].values[0], path, i, us*noise)
		}
	}
	r.summarise()
	if len(r.Near) != 1 || r.Near[0].Ratio != 1.5 || r.Near[0].Bare != 80 || r.Near[0].Mesh != 120 {
		t.Errorf("%+v", r.Near)
	}
	if s := markdown(r.nearRows()); !strings.Contains(s, "| 1 KB requests, 1,000/s: p50, µs | 80.0 | 120 | 1.50 |") {
		t.Errorf("table\n%s", s)
	}
	if paths, _ := r.rows(); len(paths) != 1 {
		t.Errorf("the large table shows %v", paths)
	}
}

// A quiet pod beside a noisy one: quotients are taken within a round, and the table has a mark of its own.
func TestNoiseTable(t *testing.T) {
	r := &report{Rounds: 3, Thrown: map[string][]int{}}
	for i := range 3 {
		for _, n := range noises {
			for j, pair := range pairings {
				if n.args == nil {
					pair[1] = ""
				}
				one := r.beside(n.label, pair)
				if len(one.P50us) > i {
					continue // silence is measured once for each path
				}
				one.P50us, one.P99us = append(one.P50us, 100), append(one.P99us, float64((i+1)*(j+1)*200))
			}
		}
	}
	file := filepath.Join(t.TempDir(), "p.md")
	if err := os.WriteFile(file, []byte("before\n"+noiseMark+"\nold\n"+noiseEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.rewrite(file); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(file)
	s := string(data)
	for _, want := range []string{
		"before\n" + noiseMark, noiseEnd + "\nafter\n",
		"| silence | 100 / 400 | 100 / 800 | 100 / 800 |  |  |",
		"| 8 uploads, same server | 100 / 400 | 100 / 800 | 100 / 1200 | 1.50 | 1.50 |",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	if strings.Contains(s, "old") {
		t.Errorf("the old table is still there:\n%s", s)
	}
}
