package profile

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// MostSVG is how large a picture may be, in bytes.
const MostSVG = 150 << 10

const (
	flameWidth = 1200.0 // of a picture, in px
	rowHeight  = 16.0
	headHeight = 28.0
	letter     = 6.2 // width of one
	deepest    = 60  // rows that are drawn
)

// frame is a function below its callers.
type frame struct {
	name  string
	value int64 // with all that it called
	calls map[string]*frame
}

func (f *frame) call(name string) *frame {
	c := f.calls[name]
	if c == nil {
		c = &frame{name: name, calls: map[string]*frame{}}
		f.calls[name] = c
	}
	return c
}

// Flame draws the CPU profile p as SVG: callers below, what they called above; widths are shares of CPU, colours the
// kinds of Shares. Frames too narrow to be seen are left out, as many as the size demands.
func Flame(p *profile.Profile, title string) string {
	root := &frame{name: "all", calls: map[string]*frame{}}
	at := valueIndex(p)
	for _, s := range p.Sample {
		v := s.Value[at]
		f := root
		f.value += v
		stack := stackOf(s)
		for _, name := range slices.Backward(stack) {
			f = f.call(name)
			f.value += v
		}
	}
	for least := 0.0008; ; least *= 1.5 {
		if svg := draw(root, title, least); len(svg) <= MostSVG {
			return svg
		}
	}
}

// valueIndex is where CPU time stands in a sample's values: it comes last in Go's profiles.
func valueIndex(p *profile.Profile) int { return max(0, len(p.SampleType)-1) }

// stackOf is the names of a sample's functions, the innermost first.
func stackOf(s *profile.Sample) (names []string) {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				names = append(names, line.Function.Name)
			}
		}
	}
	return names
}

func draw(root *frame, title string, least float64) string {
	var body strings.Builder
	rows := 0
	var walk func(f *frame, x float64, depth int, stack []string)
	walk = func(f *frame, x float64, depth int, stack []string) {
		share := float64(f.value) / float64(max(1, root.value))
		if share < least || depth >= deepest {
			return
		}
		rows = max(rows, depth+1)
		stack = append(stack, f.name)
		box(&body, f.name, x, depth, share, colour(stack))
		calls := make([]*frame, 0, len(f.calls))
		for _, c := range f.calls {
			calls = append(calls, c)
		}
		slices.SortFunc(calls, func(a, b *frame) int { return cmp.Compare(a.name, b.name) })
		for _, c := range calls {
			walk(c, x, depth+1, stack)
			x += float64(c.value) / float64(max(1, root.value)) * flameWidth
		}
	}
	walk(root, 0, 0, nil)
	height := headHeight + float64(rows)*rowHeight + 4
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"monospace\" font-size=\"10\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/><text x=\"6\" y=\"18\" font-size=\"13\">%s</text>\n<g transform=\"translate(0,%.0f)\">\n%s</g>\n</svg>\n",
		flameWidth, height, html.EscapeString(title), height-4, body.String())
}

// box draws one frame; y grows upwards from the bottom.
func box(b *strings.Builder, name string, x float64, depth int, share float64, fill string) {
	w, y := share*flameWidth, -float64(depth+1)*rowHeight
	short := Short(name)
	fmt.Fprintf(b, "<g><title>%s %.1f %%</title><rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"15\" fill=\"%s\"/>", html.EscapeString(short), 100*share, x, y, max(w-0.3, 0.2), fill)
	if room := int((w - 4) / letter); room >= 3 {
		if len(short) > room {
			short = short[:room-1] + "…"
		}
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.0f\">%s</text>", x+2, y+11, html.EscapeString(short))
	}
	b.WriteString("</g>\n")
}

// Short leaves a function's name its last element of the path: hbone.(*tunnel).read.
func Short(name string) string {
	if i := strings.LastIndex(name, "/"); i >= 0 {
		return name[i+1:]
	}
	return name
}

// colour of the innermost of a stack, outermost first.
func colour(stack []string) string {
	inner := slices.Clone(stack)
	slices.Reverse(inner)
	return colours[kindOf(inner)]
}
