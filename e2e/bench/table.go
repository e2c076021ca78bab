package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// labels of tests and paths, for people.
var labels = map[string]string{
	"up1": "1 stream up", "up8": "8 streams up", "down1": "1 stream down", "down8": "8 streams down",
	"rate": "1 KB requests, 1,000/s", "max": "1 KB requests, 64 connections", "connect": "new connections", "cold": "first connections (cold)", "idle": "idle connections",
	"direct": "direct", "l4": "Weft L4", "l7": "Weft waypoint", "envoy": "Envoy alone",
}

func label(name string) string {
	if l, ok := labels[name]; ok {
		return l
	}
	return name
}

// rows are the lines of the table: what is measured, then a cell for each path.
func (r *report) rows() (paths []string, rows [][]string) {
	type line struct{ test, value string }
	var lines []line
	for _, s := range r.Series {
		if s.Path == "near" || s.Path == "same" { // they have a table of their own
			continue
		}
		if !slices.Contains(paths, s.Path) {
			paths = append(paths, s.Path)
		}
		if l := (line{s.Test, s.Value}); !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	order := func(p string) int { return slices.Index([]string{"direct", "l4", "l7"}, p) }
	slices.SortStableFunc(paths, func(a, b string) int {
		x, y := order(a), order(b)
		switch {
		case x >= 0 && y >= 0:
			return x - y
		case x >= 0:
			return -1
		case y >= 0:
			return 1
		}
		return strings.Compare(a, b)
	})
	slices.SortStableFunc(lines, func(a, b line) int { return testOrder(a.test) - testOrder(b.test) })
	for _, l := range lines {
		row := []string{label(l.test)}
		unit := ""
		var cells []string
		for _, p := range paths {
			s := r.find(l.test, l.value, p)
			if s == nil {
				cells = append(cells, "–")
				continue
			}
			unit = s.Unit
			cells = append(cells, cell(s))
		}
		rows = append(rows, append(append(row, l.value+", "+unit), cells...))
	}
	return paths, rows
}

func testOrder(name string) int {
	i := slices.Index(testNames(), name)
	if i < 0 {
		return len(tests)
	}
	return i
}

func cell(s *series) string {
	if len(s.Rounds) == 1 {
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s…%s)", number(s.Median), number(s.Lowest), number(s.Highest))
}

// number keeps three digits.
func number(x float64) string {
	switch a := math.Abs(x); {
	case a >= 10_000:
		return fmt.Sprintf("%.1fk", x/1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", x)
	case a >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func (r *report) print(w io.Writer) {
	paths, rows := r.rows()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"TEST", "FIGURE"}
	for _, p := range paths {
		head = append(head, strings.ToUpper(label(p)))
	}
	for _, row := range append([][]string{head}, rows...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
	printRows(w, r.hopRows())
	printRows(w, r.nearRows())
	printRows(w, r.noiseRows())
	for _, rows := range r.profileRows() {
		printRows(w, rows)
	}
	for _, s := range r.Scale {
		fmt.Fprintln(w, s)
	}
	for _, f := range r.Fleet {
		fmt.Fprintln(w, f)
	}
	fmt.Fprintln(w, r.remarks())
}

// remarks say what a reader has to know of this run.
func (r *report) remarks() string {
	text := fmt.Sprintf("%s, %s; medians of %d interleaved rounds (lowest…highest).", r.When.Format("2006-01-02"), r.Machine, r.Rounds)
	for _, peer := range r.LeftOut {
		text += " Left out: " + peer + "."
	}
	if len(r.Thrown) == 0 && len(r.Noisy) == 0 {
		return text + " No round was thrown away."
	}
	for _, name := range r.Noisy {
		text += fmt.Sprintf(" The direct path of %q strayed in most rounds: the machine was not quiet, do not rely on that test.", label(name))
	}
	for _, t := range tests {
		if n := r.Thrown[t.name]; len(n) > 0 {
			text += fmt.Sprintf(" Rounds %v of %q do not count: their direct path strayed by more than %.0f %%.", n, label(t.name), 100*strays)
		}
	}
	return text
}

// Markers between which rewrite puts its tables.
const (
	beginMark = "<!-- figures: written by make bench -->"
	endMark   = "<!-- end of figures -->"
	noiseMark = "<!-- noisy neighbour: written by make bench-noisy -->"
	noiseEnd  = "<!-- end of noisy neighbour -->"

	profileMark = "<!-- profiles: written by make profile -->"
	profileEnd  = "<!-- end of profiles -->"
)

// rewrite puts the tables into a Markdown file, between the markers.
func (r *report) rewrite(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(r.Neighbours) > 0 {
		if data, err = between(data, noiseMark, noiseEnd, r.remarks()+"\n"+markdown(r.noiseRows())); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(r.Profiles) > 0 {
		text, err := r.drawProfiles(file)
		if err != nil {
			return err
		}
		if data, err = between(data, profileMark, profileEnd, text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(r.Series)+len(r.Scale)+len(r.Fleet) > 0 {
		shown, err := r.drawAll(file)
		if err != nil {
			return err
		}
		if data, err = between(data, beginMark, endMark, r.tables(shown)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return os.WriteFile(file, data, 0o644)
}

// between replaces what is between two marks.
func between(data []byte, begin, end, text string) ([]byte, error) {
	before, rest, ok1 := bytes.Cut(data, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return nil, errors.New("no place for figures: want the lines " + begin + " and " + end)
	}
	return slices.Concat(before, []byte(begin+"\n"+text+end), after), nil
}

// tables are all but those of noise, and the lines that show the pictures.
func (r *report) tables(shown []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.remarks())
	paths, rows := r.rows()
	head, rule := "| test | figure |", "|---|---|"
	for _, p := range paths {
		head, rule = head+" "+label(p)+" |", rule+"---|"
	}
	fmt.Fprintln(&b, head+"\n"+rule)
	for _, row := range rows {
		fmt.Fprintln(&b, "| "+strings.Join(row, " | ")+" |")
	}
	if len(shown) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(shown, "\n"))
	}
	b.WriteString(markdown(r.hopRows()))
	b.WriteString(markdown(r.nearRows()))
	if len(r.Scale)+len(r.Fleet) > 0 {
		fmt.Fprintln(&b)
		for _, s := range r.Scale {
			fmt.Fprintln(&b, "- "+s.String())
		}
		for _, f := range r.Fleet {
			fmt.Fprintln(&b, "- "+f.String())
		}
	}
	return b.String()
}

// machine describes where this runs.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model := "unknown processor"
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s", runtime.NumCPU(), model, unix.ByteSliceToString(u.Release[:]), runtime.Version())
}
