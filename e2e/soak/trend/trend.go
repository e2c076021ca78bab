// Package trend decides whether a series of samples grows, without I/O.
//
// The first third of a run is not judged: pools fill, programs are restarted, caches warm up. The second
// third is the base, the last third is held against it. A series grows when both say so by more than the
// tolerance:
//
//   - the median of the last third is above that of the second (a single spike does not move a median), and
//   - the straight line fitted to both thirds rises by that much from its beginning to its end (a load
//     that is merely higher in one phase than in another does not make a line rise steadily).
//
// A leak does both: whatever it loses per event is still there at the end. What goes up and down does not.
package trend

import (
	"math"
	"slices"
)

// Point is one sample: when, in seconds since the beginning, and how much.
type Point struct {
	At    float64 `json:"at"`
	Value float64 `json:"value"`
}

// Tolerance is how much growth is taken for noise: the larger of the two.
type Tolerance struct {
	Absolute float64 // in the series' unit
	Relative float64 // of the base, 0.1 is 10 %
}

func (t Tolerance) of(base float64) float64 { return max(t.Absolute, t.Relative*math.Abs(base)) }

// Result is what a series came to.
type Result struct {
	First  float64 `json:"first"`  // median of the first third
	Middle float64 `json:"middle"` // median of the second third
	Last   float64 `json:"last"`   // median of the last third
	// Rise is how far the fitted line rises over the second and the last third.
	Rise    float64 `json:"rise"`
	Allowed float64 `json:"allowed"` // the tolerance for this base
	Points  int     `json:"points"`
	// Grows is the verdict. Judged is false when there were too few samples for one.
	Grows  bool `json:"grows"`
	Judged bool `json:"judged"`
}

// minPerThird samples are needed for a verdict.
const minPerThird = 3

// Judge looks at the samples of a run that lasted from 0 to end seconds.
func Judge(points []Point, end float64, tol Tolerance) Result {
	var thirds [3][]float64
	var judged []Point
	for _, p := range points {
		i := min(2, max(0, int(3*p.At/end)))
		thirds[i] = append(thirds[i], p.Value)
		if i > 0 {
			judged = append(judged, p)
		}
	}
	r := Result{First: median(thirds[0]), Middle: median(thirds[1]), Last: median(thirds[2]), Points: len(points)}
	r.Allowed = tol.of(r.Middle)
	r.Judged = len(thirds[1]) >= minPerThird && len(thirds[2]) >= minPerThird
	if r.Judged {
		r.Rise = slope(judged) * (judged[len(judged)-1].At - judged[0].At)
		r.Grows = r.Last-r.Middle > r.Allowed && r.Rise > r.Allowed
	}
	return r
}

// median is 0 of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// slope of the line of least squares, per second; 0 when all samples are of one moment.
func slope(points []Point) float64 {
	var at, value float64
	for _, p := range points {
		at, value = at+p.At, value+p.Value
	}
	n := float64(len(points))
	at, value = at/n, value/n
	var xy, xx float64
	for _, p := range points {
		xy += (p.At - at) * (p.Value - value)
		xx += (p.At - at) * (p.At - at)
	}
	if xx == 0 {
		return 0
	}
	return xy / xx
}
