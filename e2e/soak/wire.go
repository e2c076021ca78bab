package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/e2e/soak/calls"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/lab/capture"
)

// wire is what crossed the link between the nodes.
type wire struct {
	mu   sync.Mutex // protects seen
	seen wireReport
}

// wireReport sums up all captures.
type wireReport struct {
	Captures    int `json:"captures"`
	Frames      int `json:"frames"`
	TunnelBytes int `json:"tunnelBytes"`
	Handshakes  int `json:"handshakes"`
	// Strangers counts packets of the pod outside of the mesh, which are clear and are refused.
	Strangers int `json:"strangers"`
	// Clear counts sightings of a marker. It must be 0.
	Clear int `json:"clear"`
}

func (w *wire) frames() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.Frames
}

// captureLength is how long one capture lasts: what it holds is kept in memory until it is analysed.
const captureLength = 10 * time.Second

// watchWire captures without a gap until the context ends: each capture begins before the last one stops.
func (s *soak) watchWire(ctx context.Context) {
	var last *capture.Capture
	for {
		next, err := lab.StartCapture(s.lab, "n1", "n2")
		if err != nil {
			s.finds.add("capture: %v", err)
			return
		}
		if last != nil {
			s.readCapture(last)
		}
		if ctx.Err() != nil {
			s.readCapture(next)
			return
		}
		last = next
		pause(ctx, captureLength)
	}
}

func (s *soak) readCapture(c *capture.Capture) {
	frames, err := c.Stop()
	if err != nil {
		s.finds.add("the link was not watched all the time: %v", err)
		return
	}
	r := capture.Analyse(frames, capture.Question{Markers: []string{calls.Card}, Tunnel: 15008, Control: []uint16{api.PortXDS}})
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	seen := &s.wire.seen
	seen.Captures++
	seen.Frames += r.Frames
	seen.TunnelBytes += r.Tunnel.Bytes
	seen.Handshakes += r.Hellos
	seen.Clear += len(r.Clear)
	for _, c := range r.Clear {
		s.finds.add("CLEAR TEXT on the link: %s …%s…", c.Flow, c.Excerpt)
	}
	for _, flow := range r.NotTLS {
		s.finds.add("a connection to port 15008 that is not TLS: %s", flow)
	}
	strangers := s.strangers()
	for flow := range r.Other.Flows {
		from, _, _ := strings.Cut(flow, " → ")
		if strangers[from] {
			seen.Strangers++
			continue
		}
		s.finds.add("TCP past the tunnel on the link: %s", flow)
	}
}

// strangers are the addresses of pods outside of the mesh.
func (s *soak) strangers() map[string]bool {
	pods, _ := s.lab.Pods()
	all := map[string]bool{}
	for _, p := range pods {
		if p.Namespace != "shop" {
			for _, ip := range p.Status.PodIPs {
				all[ip.IP] = true
			}
		}
	}
	return all
}

// judgeWire fails a run whose witness saw nothing.
func (s *soak) judgeWire() wireReport {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	if s.wire.seen.TunnelBytes == 0 {
		s.finds.add("nothing went through the tunnel: the witness on the link saw no traffic")
	}
	return s.wire.seen
}
