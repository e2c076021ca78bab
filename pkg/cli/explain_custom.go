package cli

import (
	"fmt"

	"github.com/weftmesh/weft/pkg/model"
)

// sayCustom tells whom a CUSTOM policy asks about a request, and what happens when that is down.
func (x *explainer) sayCustom(h *hop, p *model.L7Policy, rule int) {
	e := p.External
	how, down := "gRPC", fmt.Sprintf("answered %d", e.StatusOnError)
	if e.HTTP {
		how = "HTTP"
	}
	if e.FailOpen {
		down = "the request passes"
	}
	h.say("CUSTOM policy %s, rule %d: %s is asked by %s and decides; if it cannot answer within %s: %s",
		p.Key(), rule+1, x.askedText(model.ServicePort{Service: e.Backend.Service, Port: e.Backend.Port}), how, e.Timeout, down)
}
