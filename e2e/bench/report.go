package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// strays is how far from the median the direct path of a round may be before the round is thrown away.
const strays = 0.25

// series is one figure over one path.
type series struct {
	Test    string    `json:"test"`
	Value   string    `json:"value"`
	Unit    string    `json:"unit"`
	Path    string    `json:"path"`
	Rounds  []float64 `json:"rounds"` // of all rounds, in order
	Median  float64   `json:"median"` // of those that count
	Lowest  float64   `json:"lowest"`
	Highest float64   `json:"highest"`
	machine bool
}

// report is everything that was measured.
type report struct {
	When    time.Time `json:"when"`
	Machine string    `json:"machine"`
	Rounds  int       `json:"rounds"` // that were done
	// Thrown are the rounds (from 1) that do not count, by test: their direct path strayed.
	Thrown map[string][]int `json:"thrown,omitempty"`
	// Noisy are the tests most of whose rounds strayed: the machine was not quiet, and nothing is thrown away.
	Noisy  []string  `json:"noisy,omitempty"`
	Series []*series `json:"series"`
	Scale  []scale   `json:"scale,omitempty"`
	Fleet  []fleet   `json:"fleet,omitempty"`
	// Hops hold the waypoint's path against Envoy alone.
	Hops []hop `json:"waypointBesideEnvoy,omitempty"`
	// Near holds what pods of one node pay for the mesh.
	Near []near `json:"sameNode,omitempty"`
	// Neighbours hold how a quiet pod fares beside a noisy one.
	Neighbours []*neighbour `json:"noisyNeighbour,omitempty"`
	// Profiles tell where the ztunnels' time goes.
	Profiles []*profiled `json:"profiles,omitempty"`
	// LeftOut are the peers that could not be measured, and why.
	LeftOut []string `json:"leftOut,omitempty"`
}

func newReport(o options) *report {
	return &report{When: time.Now().UTC(), Machine: machine(), Rounds: o.rounds, Thrown: map[string][]int{}}
}

func (r *report) add(test string, v value, path string, round int, x float64) {
	s := r.find(test, v.name, path)
	if s == nil {
		s = &series{Test: test, Value: v.name, Unit: v.unit, Path: path, machine: v.machine}
		r.Series = append(r.Series, s)
	}
	s.Rounds = append(s.Rounds, x)
}

func (r *report) find(test, value, path string) *series {
	for _, s := range r.Series {
		if s.Test == test && s.Value == value && s.Path == path {
			return s
		}
	}
	return nil
}

// summarise throws away the rounds that stray and computes medians of the others. What the machine spends
// over a path is given without what it spends over the direct one.
func (r *report) summarise() {
	for _, t := range tests {
		direct := r.find(t.name, t.values[0].name, "direct")
		if direct == nil || len(direct.Rounds) < 3 {
			continue
		}
		m := median(direct.Rounds)
		var thrown []int
		for i, x := range direct.Rounds {
			if math.Abs(x-m) > strays*m {
				thrown = append(thrown, i+1)
			}
		}
		if 2*len(thrown) > len(direct.Rounds) { // no median to speak of: all count, and the reader is told
			r.Noisy = append(r.Noisy, t.name)
		} else if len(thrown) > 0 {
			r.Thrown[t.name] = thrown
		}
	}
	for _, s := range r.Series {
		if direct := r.find(s.Test, s.Value, "direct"); s.machine && direct != nil && s != direct {
			for i := range s.Rounds {
				s.Rounds[i] -= direct.Rounds[i]
			}
		}
	}
	for _, s := range r.Series {
		good := r.counting(s.Test, len(s.Rounds), func(i int) float64 { return s.Rounds[i] })
		s.Median, s.Lowest, s.Highest = median(good), slices.Min(good), slices.Max(good)
	}
	r.weigh()
	r.compareNear()
}

// counting are a figure's values in the rounds that count for a test.
func (r *report) counting(test string, rounds int, of func(round int) float64) (good []float64) {
	for i := range rounds {
		if !slices.Contains(r.Thrown[test], i+1) {
			good = append(good, of(i))
		}
	}
	return good
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
