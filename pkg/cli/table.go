package cli

import (
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// textTable prints rows in aligned columns.
type textTable struct{ rows [][]string }

func newTable(header ...string) *textTable { return &textTable{rows: [][]string{header}} }

func (t *textTable) row(cells ...string) { t.rows = append(t.rows, cells) }

var colorCodes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func width(s string) int { return utf8.RuneCountInString(colorCodes.ReplaceAllString(s, "")) }

func (t *textTable) print(w io.Writer) {
	widths := make([]int, len(t.rows[0]))
	for _, r := range t.rows {
		for i, c := range r {
			if i < len(widths) {
				widths[i] = max(widths[i], width(c))
			}
		}
	}
	for _, r := range t.rows {
		var line strings.Builder
		for i, c := range r {
			if c == "" {
				c = "-"
			}
			line.WriteString(c)
			if i < len(r)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(c)+3))
			}
		}
		_, _ = io.WriteString(w, strings.TrimRight(line.String(), " ")+"\n")
	}
}
