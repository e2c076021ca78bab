package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plotsDir is where pictures are, beside the Markdown file that shows them.
const plotsDir = "plots"

// picture is one figure of some tests, as bars: a group for each test or value, in it a bar for each path.
type picture struct {
	name, title, unit string
	bars              []bar
	log               bool // latencies: the tail would leave nothing of the rest
}

type bar struct{ test, value, label string }

func bars(value string, tests ...string) (out []bar) {
	for _, t := range tests {
		out = append(out, bar{t, value, label(t)})
	}
	return out
}

var pictures = []picture{
	{name: "cpu-per-gb", title: "CPU of all proxies for a GB (less is better)", unit: "CPU-seconds", bars: bars("CPU", "up1", "up8", "down1", "down8")},
	{name: "cpu-per-request", title: "CPU of all proxies for a request (less is better)", unit: "µs", bars: bars("CPU", "rate", "max", "connect")},
	{name: "per-second", title: "As many a second (more is better)", unit: "/s", bars: []bar{{"max", "requests", "requests, 64 connections"}, {"connect", "connections", "new connections"}}},
	{name: "latency", title: "1 KB requests at 1,000/s, open loop (less is better)", unit: "µs", log: true,
		bars: []bar{{"rate", "p50", "p50"}, {"rate", "p90", "p90"}, {"rate", "p99", "p99"}, {"rate", "p99.9", "p99.9"}}},
}

// colours are told apart by people who do not see red and green alike (Okabe and Ito).
var colours = []color.RGBA{{0, 0, 0, 255}, {0, 114, 178, 255}, {86, 180, 233, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {213, 94, 0, 255}, {204, 121, 167, 255}}

// drawAll makes the pictures of what was measured, in the folder of plots beside a Markdown file, and returns the
// lines that show them there.
func (r *report) drawAll(file string) (shown []string, err error) {
	dir := filepath.Join(filepath.Dir(file), plotsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	paths, _ := r.rows()
	for _, pic := range pictures {
		groups := slices.DeleteFunc(slices.Clone(pic.bars), func(b bar) bool { return r.find(b.test, b.value, "l4") == nil })
		if len(groups) == 0 {
			continue
		}
		if err := r.picture(pic, groups, paths).Save(vg.Points(640), vg.Points(280), filepath.Join(dir, pic.name+".svg")); err != nil {
			return nil, fmt.Errorf("draw %s: %w", pic.name, err)
		}
		shown = append(shown, fmt.Sprintf("![%s](%s/%s.svg)", pic.title, plotsDir, pic.name))
	}
	return shown, nil
}

func (r *report) picture(pic picture, groups []bar, paths []string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Legend.Top = pic.title, pic.unit, true
	p.Legend.Left, p.Legend.XOffs = true, vg.Points(485) // names to the right of their colours: a viewer's font may be wider
	p.Title.Padding, p.Legend.Padding, p.Legend.ThumbnailWidth = vg.Points(6), vg.Points(3), vg.Points(12)
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.label
	}
	p.NominalX(names...)
	drawn := slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		return slices.ContainsFunc(groups, func(g bar) bool { return r.find(g.test, g.value, path) == nil })
	})
	for i, path := range drawn {
		medians := make(plotter.Values, len(groups))
		for j, g := range groups {
			medians[j] = r.find(g.test, g.value, path).Median
		}
		c := colours[slices.Index(paths, path)%len(colours)]
		if pic.log {
			line(p, path, medians, c)
			continue
		}
		width := vg.Points(min(20, 400/float64(len(drawn)*len(groups))))
		if b, err := plotter.NewBarChart(medians, width); err == nil { // it fails where there is nothing to draw
			b.LineStyle.Width, b.Color = 0, c
			b.Offset = width * vg.Length(float64(i)-float64(len(drawn)-1)/2)
			p.Add(b)
			p.Legend.Add(label(path), b)
		}
	}
	p.X.Min, p.X.Max = -0.6, 1.25*float64(len(groups))-0.4 // the legend is at the right
	if p.Y.Min = 0; pic.log {
		p.Y.Scale, p.Y.Tick.Marker, p.Y.Min = plot.LogScale{}, plot.LogTicks{Prec: -1}, 100
	}
	return p
}

// line joins the figures of a path: on a logarithmic scale a bar would begin nowhere.
func line(p *plot.Plot, path string, medians plotter.Values, c color.Color) {
	points := make(plotter.XYs, len(medians))
	for i, y := range medians {
		points[i] = plotter.XY{X: float64(i), Y: max(y, 1)}
	}
	if l, dots, err := plotter.NewLinePoints(points); err == nil {
		l.Color, l.Width, dots.Color, dots.Shape = c, vg.Points(2), c, draw.CircleGlyph{}
		p.Add(l, dots)
		p.Legend.Add(label(path), l)
	}
}
