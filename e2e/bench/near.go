package main

// near is one figure of pods of one node that talk past the proxies, beside two pods that are in no mesh. Medians over
// the rounds that count, of quotients within a round.
type near struct {
	Test  string  `json:"test"`
	Value string  `json:"value"`
	Unit  string  `json:"unit"`
	Bare  float64 `json:"bare"`
	Mesh  float64 `json:"mesh"`
	Ratio float64 `json:"ratio"` // Mesh ÷ Bare
}

// compareNear compares; nothing where a path was not measured.
func (r *report) compareNear() {
	r.Near = nil
	for _, t := range tests {
		for _, v := range t.values {
			bare, mesh := r.find(t.name, v.name, "near"), r.find(t.name, v.name, "same")
			if bare == nil || mesh == nil || v.machine {
				continue
			}
			over := func(of func(i int) float64) float64 { return median(r.counting(t.name, len(mesh.Rounds), of)) }
			r.Near = append(r.Near, near{Test: t.name, Value: v.name, Unit: v.unit, Bare: bare.Median, Mesh: mesh.Median,
				Ratio: over(func(i int) float64 { return mesh.Rounds[i] / bare.Rounds[i] })})
		}
	}
}

// nearRows are the lines of the comparison, its head first; none if nothing was compared.
func (r *report) nearRows() [][]string {
	if len(r.Near) == 0 {
		return nil
	}
	rows := [][]string{{"pods of one node, direct path", "in no mesh", "in the mesh", "ratio"}}
	for _, n := range r.Near {
		rows = append(rows, []string{label(n.Test) + ": " + n.Value + ", " + n.Unit, number(n.Bare), number(n.Mesh), number(n.Ratio)})
	}
	return rows
}
