package cli

import (
	"strings"
	"testing"
	"time"
)

func TestFeelTellsWhatCallersNoticed(t *testing.T) {
	start := time.Unix(1000, 0)
	rep := loadReport{Start: start}
	add := func(at, took float64, status, exit int) {
		rep.Each = append(rep.Each, loadSample{AtMS: at, TookMS: took, Status: status, Exit: exit})
	}
	for at := 0.0; at < 2000; at += 10 {
		switch {
		case at < 1000 || at >= 1200:
			add(at, 2, 200, 0)
		case at == 1000:
			add(at, 1, 0, 7)
		case at == 1010:
			add(at, 500, 0, exitTimeout)
		case at == 1020:
			add(at, 1, 503, 0)
		default:
			add(at, 900, 200, 0)
		}
	}
	f := feel(rep, start.Add(995*time.Millisecond), 150*time.Millisecond)
	if f.gap != 210 || f.gapFrom != -3 || f.touched != 21 || f.answered != 18 || f.failed() != 3 || f.timedOut != 1 || f.slowest != 900 || f.slowestAtOnce != 1 || !f.recovered {
		t.Errorf("felt %+v", f)
	}
	if got := f.fate(); !strings.Contains(got, "failed at once 2 (1 answered 503, 1 refused), each within 1 ms") || !strings.Contains(got, "timed out 1") {
		t.Errorf("fate: %s", got)
	}
	rep.Each = rep.Each[:100]
	add(1100, 1, 0, 7)
	if f := feel(rep, start.Add(995*time.Millisecond), 150*time.Millisecond); f.recovered || f.failed() != 1 {
		t.Errorf("nothing succeeded again: %+v", f)
	}
}
