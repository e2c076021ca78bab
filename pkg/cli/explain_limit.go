package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// sayLimit tells which RateLimit counts a request: of several the one with the narrowest target, alone.
func (x *explainer) sayLimit(h *hop, list []*model.Attachment, req request) {
	if len(list) == 0 {
		return
	}
	a, l := list[0], list[0].RateLimit
	switch {
	case l.Broken != "" && l.Closed():
		h.say("RateLimit %s cannot be enforced: %s; answered 503", attachmentName(a), l.Broken)
		x.worsen(refused)
		x.advise("see what is wrong with RateLimit %s: weftctl get problems", attachmentName(a))
		return
	case l.Broken != "":
		h.say("RateLimit %s cannot be enforced: %s; requests pass uncounted", attachmentName(a), l.Broken)
		return
	}
	h.say("RateLimit %s: %s", attachmentName(a), x.counterText(l))
	counted := 0
	for i := range l.Rules {
		if r := &l.Rules[i]; x.counts(r, req) {
			counted++
			h.say("  rule %d counts it: %s", i+1, limitText(r))
		}
	}
	if counted == 0 {
		h.say("  none of its %d rules counts this request", len(l.Rules))
	}
	if g := l.Global; g != nil && counted > 0 && l.Closed() && !x.answers(g.Service) {
		h.say("  nobody is there to be asked: answered 503")
		x.worsen(refused)
		x.advise("see why the pods of %s are not ready, or set failOpen", g.Service.Service)
	}
	if len(list) > 1 {
		h.say("  wider ones do not count here: %s", namesOf(list[1:]))
	}
}

// counterText tells who counts, and what becomes of what is too much.
func (x *explainer) counterText(l *model.RateLimit) string {
	text := "each pod of the waypoint counts by itself"
	if g := l.Global; g != nil {
		down := "503"
		if !l.Closed() {
			down = "requests pass uncounted"
		}
		text = fmt.Sprintf("all waypoints count together at %s, domain %s; if it is down or takes longer than %s: %s", x.askedText(g.Service), g.Domain, g.Timeout, down)
	}
	if l.DryRun {
		return text + "; dry run: nothing is refused"
	}
	return text + "; what is too much is answered 429"
}

// counts reports whether a rule is about the caller and the request.
func (x *explainer) counts(r *model.LimitRule, req request) bool {
	from := len(r.From) == 0 || slices.ContainsFunc(r.From, func(m model.CallerMatch) bool { return m.Is(x.src.Identity()) })
	return from && (r.Match == nil || matchRequest(*r.Match, req))
}

func limitText(r *model.LimitRule) string {
	unit := map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day"}[r.Per]
	text := fmt.Sprintf("%d requests a %s", r.Requests, unit)
	if r.Burst > r.Requests {
		text += fmt.Sprintf(", %d after a pause", r.Burst)
	}
	var by []string
	for _, k := range r.By {
		name := strings.ToLower(k.Type)
		if k.Name != "" {
			name += " " + k.Name
		}
		by = append(by, name)
	}
	if len(by) > 0 {
		text += ", for each " + strings.Join(by, " and ")
	} else {
		text += ", all together"
	}
	if len(r.From) > 0 {
		text += "; only callers that its from names"
	}
	return text
}
