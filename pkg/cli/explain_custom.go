package cli

import (
	"fmt"

	"github.com/weftmesh/weft/pkg/model"
)

// judgeCustom tells whom a CUSTOM policy asks about a request, and what happens when that is down. What it would answer
// nobody knows, unless nobody is there.
func (x *explainer) judgeCustom(h *hop, p *model.L7Policy, rule int, matches truth) verdict {
	e := p.External
	asked := model.ServicePort{Service: e.Backend.Service, Port: e.Backend.Port}
	how, down := "gRPC", fmt.Sprintf("answered %d", e.StatusOnError)
	if e.HTTP {
		how = "HTTP"
	}
	if e.FailOpen {
		down = "the request passes"
	}
	h.say("CUSTOM policy %s, rule %d: %s is asked by %s and decides; if it cannot answer within %s: %s", p.Key(), rule+1, x.askedText(asked), how, e.Timeout, down)
	switch {
	case x.answers(asked):
		return depends
	case e.FailOpen:
		return allowed
	}
	x.advise("see why the pods of %s are not ready, or set failOpen", asked.Service)
	if matches == unknown {
		return depends
	}
	return refused
}
