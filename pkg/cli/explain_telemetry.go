package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// sayTelemetry tells what is logged, traced and counted of a request: each by the narrowest Telemetry that speaks of it.
func (x *explainer) sayTelemetry(h *hop, list []*model.Attachment) {
	said := map[string]bool{}
	say := func(a *model.Attachment, part, text string) {
		if !said[part] {
			said[part] = true
			h.say("Telemetry %s: %s", attachmentName(a), text)
		}
	}
	for _, a := range list {
		t := a.Telemetry
		if t.AccessLog != nil {
			say(a, "log", x.logText(t.AccessLog))
		}
		if t.Tracing != nil {
			say(a, "trace", x.traceText(t.Tracing))
		}
		if t.Metrics != nil {
			say(a, "metrics", metricsText(t.Metrics))
		}
	}
}

// saySamples tells of how many connections the caller's ztunnel begins a trace, where a Telemetry says so.
func (x *explainer) saySamples(h *hop) {
	s := x.target.service
	if s == nil || x.src.Protocol != model.HBONE {
		return
	}
	if p, ok := s.Sampled(x.target.port); ok {
		h.say("a Telemetry says that %g %% of the connections begin a trace at ztunnels that have a collector", p)
	}
}

func (x *explainer) logText(l *model.AccessLog) string {
	if l.Disabled {
		return "it is not logged"
	}
	to := "the waypoint's own output"
	if l.OTLP != nil {
		to = x.askedText(*l.OTLP)
	}
	var only []string
	if l.MinStatus > 0 {
		only = append(only, fmt.Sprintf("from status %d on", l.MinStatus))
	}
	if l.MinDuration > 0 {
		only = append(only, fmt.Sprintf("that take %s or longer", l.MinDuration))
	}
	if len(l.Headers) > 0 {
		only = append(only, "with certain headers")
	}
	which := "requests "
	if l.Percentage < 100 {
		which = fmt.Sprintf("%g %% of the requests ", l.Percentage)
	}
	if len(only) > 0 {
		which += strings.Join(only, ", ") + " "
	}
	return which + "are logged to " + to
}

func (x *explainer) traceText(t *model.Tracing) string {
	to := "the waypoint's collector"
	if t.Collector != nil {
		to = x.askedText(*t.Collector)
	}
	return fmt.Sprintf("%g %% of the requests without a trace of their own are traced, to %s", t.Percentage, to)
}

func metricsText(m *model.Metrics) string {
	if m.Disabled {
		return "it is not counted in metrics"
	}
	var labels []string
	for _, l := range m.Labels {
		labels = append(labels, l.Name)
	}
	text := "it is counted in metrics"
	if len(labels) > 0 {
		text += fmt.Sprintf(", with labels %s (each of %d values at most)", strings.Join(labels, ", "), m.MaxValues)
	}
	if len(m.Drop) > 0 {
		text += ", without " + strings.Join(slices.Sorted(slices.Values(m.Drop)), ", ")
	}
	return text
}
