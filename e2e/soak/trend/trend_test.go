package trend

import (
	"math"
	"math/rand/v2"
	"testing"
)

// samples takes one sample of f every 10 s of a run of 30 minutes.
func samples(f func(at float64) float64) []Point {
	var all []Point
	for at := 0.0; at < end; at += 10 {
		all = append(all, Point{at, f(at)})
	}
	return all
}

const end = 1800

func TestJudge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n float64) float64 { return n * (2*rnd.Float64() - 1) }
	tol := Tolerance{Absolute: 8, Relative: 0.1}
	for name, c := range map[string]struct {
		f     func(at float64) float64
		grows bool
	}{
		"flat":                           {func(float64) float64 { return 100 }, false},
		"noise":                          {func(float64) float64 { return 100 + noise(40) }, false},
		"warm-up":                        {func(at float64) float64 { return 100 * (1 - math.Exp(-at/200)) }, false},
		"restart early":                  {func(at float64) float64 { return map[bool]float64{true: 20, false: 100}[at < 300] }, false},
		"waves":                          {func(at float64) float64 { return 100 + 30*math.Sin(at/40) }, false},
		"spike at the end":               {func(at float64) float64 { return map[bool]float64{true: 900, false: 100}[at > 1780] }, false},
		"falls":                          {func(at float64) float64 { return 300 - at/10 }, false},
		"within the tolerance":           {func(at float64) float64 { return 100 + at/300 }, false},
		"small base, absolute tolerance": {func(at float64) float64 { return 5 + at/400 }, false},
		"leaks two a minute":             {func(at float64) float64 { return 100 + at/30 + noise(10) }, true},
		"leaks ten at each event":        {func(at float64) float64 { return 100 + 10*math.Floor(at/240) }, true},
		"leak in the noise":              {func(at float64) float64 { return 100 + at/20 + noise(40) }, true},
		"small base leaks":               {func(at float64) float64 { return 5 + at/60 }, true},
		"large base leaks":               {func(at float64) float64 { return 1e6 + 300*at }, true},
	} {
		if r := Judge(samples(c.f), end, tol); r.Grows != c.grows || !r.Judged {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestJudgeNeedsSamples(t *testing.T) {
	if r := Judge(nil, end, Tolerance{}); r.Judged || r.Grows {
		t.Errorf("nothing: %+v", r)
	}
	few := []Point{{700, 1}, {800, 2}, {900, 3}, {1300, 10}, {1700, 20}}
	if r := Judge(few, end, Tolerance{}); r.Judged || r.Grows {
		t.Errorf("two samples in the last third: %+v", r)
	}
	few = append(few, Point{1750, 30})
	if r := Judge(few, end, Tolerance{}); !r.Grows || r.Middle != 2 || r.Last != 20 {
		t.Errorf("%+v", r)
	}
}

func TestSlope(t *testing.T) {
	if s := slope([]Point{{1, 3}, {2, 5}, {3, 7}}); s != 2 {
		t.Errorf("slope %v", s)
	}
	if s := slope([]Point{{1, 3}, {1, 5}}); s != 0 {
		t.Errorf("slope of one moment %v", s)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}
