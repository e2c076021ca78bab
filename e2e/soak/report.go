package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weftmesh/weft/e2e/soak/trend"
)

// report is what a soak came to; it is written as JSON.
type report struct {
	Began     time.Time                 `json:"began"`
	Seconds   float64                   `json:"seconds"`
	Problems  []string                  `json:"problems"` // empty: passed
	Series    []judged                  `json:"series"`
	Calls     map[string]map[string]int `json:"calls"` // by kind and outcome
	Excused   int                       `json:"excused"`
	Events    []*event                  `json:"events"`
	Wire      wireReport                `json:"wire"`
	Renewals  map[string]int            `json:"certificates"` // how many each identity had
	LogLines  int                       `json:"logLines"`
	LogErrors map[string]int            `json:"logErrors,omitempty"` // lines at level error
	Examples  map[string]string         `json:"logErrorExamples,omitempty"`
}

// judged is one series with its verdict.
type judged struct {
	Of      string        `json:"of"`
	Measure string        `json:"measure"`
	Result  trend.Result  `json:"result"`
	Points  []trend.Point `json:"points"`
	measure measure
}

// report judges everything that was seen.
func (s *soak) report() *report {
	r := &report{Began: s.began, Seconds: s.o.length.Seconds()}
	for _, one := range s.samples.all {
		j := judged{one.Of, one.Measure.name, trend.Judge(one.Points, s.o.length.Seconds(), one.Measure.tol), one.Points, one.Measure}
		r.Series = append(r.Series, j)
		if one.Measure.judged && !j.Result.Judged {
			s.finds.add("%s of %s: only %d samples, too few to judge", one.Measure.name, one.Of, len(one.Points))
		}
		if one.Measure.judged && j.Result.Grows {
			s.finds.add("%s of %s grows: %s in the second third, %s in the last (allowed: +%s)", one.Measure.name, one.Of,
				j.text(j.Result.Middle), j.text(j.Result.Last), j.text(j.Result.Allowed))
		}
	}
	r.Excused = s.judgeCalls()
	s.judgeFault()
	s.judgeEvents()
	r.Wire, r.Renewals = s.judgeWire(), s.judgeCertificates()
	r.Calls, r.Events = s.calls.outcomes, s.life.events
	r.LogLines, r.LogErrors, r.Examples = s.logs.Lines, s.logs.Errors, s.logs.Examples
	r.Problems = s.finds.list()
	return r
}

// judgeEvents checks that events excused no more than they may, and that nothing ended by itself.
func (s *soak) judgeEvents() {
	for _, e := range s.life.events {
		if e.Failures > e.Allowed {
			s.finds.add("%s at %.0f s: %d calls failed, at most %d may", e.What, e.From.Sub(s.began).Seconds(), e.Failures, e.Allowed)
		}
	}
	st, err := s.lab.ReadState()
	if err != nil {
		s.finds.add("state of the lab: %v", err)
		return
	}
	for _, name := range st.ProgramNames() {
		if p := st.Programs[name]; p.Restarts != s.life.restarts[name] {
			s.finds.add("%s was restarted %d times, %d of them on purpose; it last ended with: %s", name, p.Restarts, s.life.restarts[name], p.LastExit)
		}
	}
	pods, err := s.lab.Pods()
	if err != nil {
		s.finds.add("pods of the lab: %v", err)
	}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount > 0 {
				s.finds.add("container %s of pod %s/%s ended by itself %d times", c.Name, p.Namespace, p.Name, c.RestartCount)
			}
		}
	}
}

func (j judged) text(v float64) string { return fmt.Sprintf(j.measure.format, v/j.measure.unit) }

func (r *report) write(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(data, '\n'), 0o644))
}

// print writes the tables.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nPROGRAM\tMEASURE\tFIRST\tMIDDLE\tLAST\tLINE RISES\tALLOWED\t\n")
	for _, j := range r.Series {
		verdict := map[bool]string{true: "GROWS", false: "flat"}[j.Result.Grows]
		if !j.measure.judged {
			verdict = "not judged"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.Of, j.Measure, j.text(j.Result.First), j.text(j.Result.Middle),
			j.text(j.Result.Last), j.text(j.Result.Rise), j.text(j.Result.Allowed), verdict)
	}
	fmt.Fprint(t, "\nCALLS\tOUTCOMES\n")
	for _, kind := range keys(r.Calls) {
		fmt.Fprintf(t, "%s\t", kind)
		for _, o := range keys(r.Calls[kind]) {
			fmt.Fprintf(t, "%s %d  ", o, r.Calls[kind][o])
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "\nEVENT\tAT\tTOOK\tFAILED CALLS\n")
	for _, e := range r.Events {
		fmt.Fprintf(t, "%s\t%.0f s\t%.1f s\t%d\n", e.What, e.From.Sub(r.Began).Seconds(), e.To.Sub(e.From).Seconds(), e.Failures)
		for _, f := range e.Examples {
			fmt.Fprintf(t, "  e.g. %s\t%.1f s\t%.1f s\t%s\n", f.Kind, f.Since.Sub(r.Began).Seconds(), f.At.Sub(f.Since).Seconds(), f.Error)
		}
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\nLink: %d frames in %d captures, %d bytes in the tunnel, %d handshakes, marker seen %d times; %d flows of strangers.\n",
		r.Wire.Frames, r.Wire.Captures, r.Wire.TunnelBytes, r.Wire.Handshakes, r.Wire.Clear, r.Wire.Strangers)
	fmt.Fprintf(w, "Certificates had by each identity: %v\nLogs: %d lines; at level error: %v\n", r.Renewals, r.LogLines, r.LogErrors)
	for _, program := range keys(r.Examples) {
		fmt.Fprintf(w, "  %s: %s\n", program, r.Examples[program])
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(w, "\nPASSED: %.0f minutes without a data race, a leak, clear text, or a call that failed for no reason.\n", r.Seconds/60)
		return
	}
	fmt.Fprintf(w, "\nFAILED:\n")
	for _, p := range r.Problems {
		fmt.Fprintf(w, "- %s\n", p)
	}
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
