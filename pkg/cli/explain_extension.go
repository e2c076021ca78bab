package cli

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
)

// mostExtensions of one request.
const mostExtensions = 8

// sayExtensions tells which foreign code sees a request, in its order, and what happens where that fails.
func (x *explainer) sayExtensions(h *hop, list []*model.Attachment, req request) {
	list = byPriority(list)
	place := 0
	for _, a := range list {
		e, name := a.Extension, attachmentName(a)
		broken := e.Invalid
		if broken == controller.NobodyFetches && req.offline {
			broken = ""
		}
		if broken == "" && place == mostExtensions {
			broken = fmt.Sprintf("a request takes %d extensions at most", mostExtensions)
		}
		switch {
		case broken != "" && !e.FailOpen:
			h.say("Extension %s cannot be run: %s; answered 500", name, broken)
			x.worsen(refused)
			x.advise("see what is wrong with Extension %s: weftctl get problems", name)
		case broken != "":
			h.say("Extension %s cannot be run: %s; requests pass without it", name, broken)
		default:
			place++
			h.say("extension %d: %s, %s", place, name, x.extensionText(e))
			if p := e.ExtProc; p != nil && !e.FailOpen && !x.answers(p.Service) {
				h.say("  nobody is there to be asked: answered 500")
				x.worsen(refused)
				x.advise("see why the pods of %s are not ready, or set failOpen", p.Service.Service)
			}
		}
	}
}

func (x *explainer) extensionText(e *model.Extension) string {
	fails := "if it fails: " + failText(e)
	switch {
	case e.Lua != "":
		return "Lua; " + fails
	case e.ExtProc != nil:
		p := e.ExtProc
		return fmt.Sprintf("%s sees %s within %s; %s", x.askedText(p.Service), partsText(p), p.Timeout, fails)
	}
	return "WebAssembly; " + fails
}

func failText(e *model.Extension) string {
	switch {
	case e.FailOpen:
		return "requests pass without it"
	case e.ExtProc != nil:
		return "500, or 504 when it is late"
	case e.Lua != "":
		return "500"
	}
	return "503"
}

// partsText is what an external processor sees.
func partsText(p *model.ExtProc) string {
	var out []string
	for _, m := range []struct {
		of    string
		parts model.ProcessedParts
	}{{"request", p.Request}, {"answer", p.Response}} {
		var parts []string
		if m.parts.Headers {
			parts = append(parts, "headers")
		}
		if m.parts.Body != "" {
			parts = append(parts, "body")
		}
		if m.parts.Trailers {
			parts = append(parts, "trailers")
		}
		if parts != nil {
			out = append(out, strings.Join(parts, ", ")+" of the "+m.of)
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, " and ")
}
