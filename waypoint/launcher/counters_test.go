package launcher

import (
	"fmt"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/translate"
)

// requests are the counters as text, without the labels of the caller and the service.
func requests(t *testing.T, r *reporter) string {
	t.Helper()
	families, err := r.metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		if f.GetName() != "t_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			var own []string
			for _, l := range m.GetLabel() {
				if !strings.Contains(l.GetName(), "_") || strings.HasPrefix(l.GetName(), "own_") || l.GetName() == "response_code" {
					own = append(own, l.GetName()+"="+l.GetValue())
				}
			}
			lines = append(lines, fmt.Sprintf("%s %v", strings.Join(own, ","), m.GetCounter().GetValue()))
		}
	}
	return strings.Join(lines, "\n")
}

func TestLabelsOfOnesOwn(t *testing.T) {
	r := newReporter(Options{MetricPrefix: "t_", AccessLog: telemetry.FormatOff})
	words := `{"labels":[{"name":"tenant","header":"X-Tenant"},{"name":"own_method","attribute":"Method"},{"name":"tier","literal":"gold"}],"drop":["response_code"],"maxValues":2}`
	report := func(metrics, labels string) {
		r.send(t, translate.LogHTTP, logEntry(fields{translate.FieldMetrics: metrics, translate.FieldLabels: labels}))
	}
	report("-", "-") // as ever
	for i := range 5 {
		report(words, fmt.Sprintf(`{"tenant":"t%d"}`, i))
	}
	report(words, `{"tenant":"t1"}`)
	report(words, "-")
	report(words, `{"tenant":`)
	report(`{"disabled":true}`, "-")
	report(`{"disabled":`, "-") // of a controller of another version
	want := `reporter=waypoint,response_code=503 2
own_method=POST,reporter=waypoint,tenant=other,tier=gold 3
own_method=POST,reporter=waypoint,tenant=t0,tier=gold 1
own_method=POST,reporter=waypoint,tenant=t1,tier=gold 2
own_method=POST,reporter=waypoint,tenant=unknown,tier=gold 2`
	if got := requests(t, r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var over dto.Metric
	if err := r.counts.over.WithLabelValues("tenant").Write(&over); err != nil || over.GetCounter().GetValue() != 3 {
		t.Errorf("%v requests beyond the bound, want 3: %v", &over, err)
	}
}

// What comes in headers ends in no metric as it came: it is short, and text.
func TestValuesOfLabels(t *testing.T) {
	r := newReporter(Options{MetricPrefix: "t_", AccessLog: telemetry.FormatOff})
	words := `{"labels":[{"name":"tenant","header":"x"}],"maxValues":100}`
	r.send(t, translate.LogHTTP, logEntry(fields{translate.FieldMetrics: words, translate.FieldLabels: `{"tenant":"` + strings.Repeat("ä", 500) + `"}`}))
	r.send(t, translate.LogHTTP, logEntry(fields{translate.FieldMetrics: words, translate.FieldLabels: `{"tenant":"a\u0000b\"c"}`}))
	got := requests(t, r)
	if n := strings.Count(got, "ä"); n != 64 || !strings.Contains(got, "a\x00b\"c") {
		t.Errorf("%d of 64 letters, %q", n, got)
	}
}
