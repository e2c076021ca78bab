package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// crowd is what the test of noise needs beside client and server: a second client on the same node, which is the
// noisy one, and a second server.
const crowd = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: noisy, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: noisy}}
  template:
    metadata: {labels: {app: noisy}}
    spec:
      nodeSelector: {kubernetes.io/hostname: n1}
      containers: [{name: app, image: bench/load, args: [serve, -addr, ":9001"], ports: [{containerPort: 9001}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      nodeSelector: {kubernetes.io/hostname: n2}
      containers: [{name: app, image: bench/load, args: [serve, -addr, ":9000"], ports: [{containerPort: 9000}]}]
`

// noise is what a noisy pod does.
type noise struct {
	label string
	args  []string // of weft-load
	other bool     // calls the other server, not that of its quiet neighbour
	unit  string   // in which its success is told
	of    func(result) float64
}

// noises that a quiet pod is measured beside; the first is silence.
var noises = func() []noise {
	bulk := noise{args: []string{"-kind", "uploads", "-streams", "8"}, unit: "Gb/s", of: func(r result) float64 { return float64(r.Bytes) * 8 / r.Seconds / 1e9 }}
	storm := noise{args: []string{"-kind", "connections", "-conns", "64"}, unit: "/s", of: func(r result) float64 { return float64(r.Requests) / r.Seconds }}
	all := []noise{{label: "silence"}}
	for _, n := range []noise{bulk, storm} {
		what := map[string]string{"Gb/s": "8 uploads", "/s": "64 loops of new connections"}[n.unit]
		for _, other := range []bool{false, true} {
			n.other, n.label = other, what+", "+map[bool]string{false: "same server", true: "another server"}[other]
			all = append(all, n)
		}
	}
	return all
}()

// neighbour is how a quiet pod fares (1 KB requests, 1,000/s, open loop) beside a noisy one of the same node.
type neighbour struct {
	Noise string    `json:"noise"`
	Path  string    `json:"path"` // of the quiet pod
	Over  string    `json:"over"` // the noisy pod's path; "": there is none
	P50us []float64 `json:"p50us"`
	P99us []float64 `json:"p99us"`
	Made  []float64 `json:"made,omitempty"` // by the noisy pod, in Unit
	Unit  string    `json:"unit,omitempty"`
}

// pairings are the paths of the quiet and of the noisy pod. In the middle is the fair baseline: the machine is as busy,
// the proxies are not.
var pairings = [][2]string{{"direct", "direct"}, {"l4", "direct"}, {"l4", "l4"}}

// measureNoise goes through all noises and pairings, round by round.
func (r *report) measureNoise(ctx context.Context, w *world) error {
	for round := range w.o.rounds {
		say("noise, round %d of %d", round+1, w.o.rounds)
		for _, n := range noises {
			for i := range pairings { // another first in each round
				pair := pairings[(i+round)%len(pairings)]
				if n.args == nil {
					if pair[0] != pair[1] {
						continue
					}
					pair[1] = ""
				}
				if err := r.measureBeside(ctx, w, n, pair); err != nil {
					return fmt.Errorf("a quiet pod over %s, %s over %q: %w", pair[0], n.label, pair[1], err)
				}
			}
		}
	}
	return nil
}

func (r *report) measureBeside(ctx context.Context, w *world, n noise, pair [2]string) error {
	end := func() (result, error) { return result{}, nil }
	if pair[1] != "" {
		var err error
		if end, err = w.startNoise(ctx, n, pair[1]); err != nil {
			return err
		}
	}
	quiet, err := w.load(ctx, w.path(pair[0]), "rate", "-rps", "1000", "-conns", "8", "-for", fmt.Sprintf("%gs", w.o.seconds))
	made, endErr := end()
	switch {
	case err != nil:
		return err
	case endErr != nil:
		return endErr
	}
	one := r.beside(n.label, pair)
	one.P50us, one.P99us = append(one.P50us, quiet.P50us), append(one.P99us, quiet.P99us)
	if n.of != nil {
		one.Unit, one.Made = n.unit, append(one.Made, n.of(made))
	}
	return nil
}

// beside finds or makes what is known of a noise and a pairing.
func (r *report) beside(what string, pair [2]string) *neighbour {
	for _, one := range r.Neighbours {
		if one.Noise == what && one.Path == pair[0] && one.Over == pair[1] {
			return one
		}
	}
	one := &neighbour{Noise: what, Path: pair[0], Over: pair[1]}
	r.Neighbours = append(r.Neighbours, one)
	return one
}

func (w *world) path(name string) *path {
	for _, p := range w.paths {
		if p.name == name {
			return p
		}
	}
	return nil
}

// startNoise has the noisy pod of a path begin.
func (w *world) startNoise(ctx context.Context, n noise, over string) (end func() (result, error), err error) {
	from, err := w.pod(ctx, over, "noisy")
	if err != nil {
		return nil, err
	}
	to := w.path(over).addr
	if n.other {
		server, err := w.pod(ctx, over, "other")
		if err != nil {
			return nil, err
		}
		to = fmt.Sprintf("%s:%d", server.Status.PodIP, appPort)
	}
	return w.begin(ctx, &path{client: from, addr: to}, n.args)
}

// begin makes noise from p's client to its address, and waits until it is at work; end stops it and tells what it did.
func (w *world) begin(ctx context.Context, p *path, args []string) (end func() (result, error), err error) {
	cmd := w.inClient(ctx, p, append([]string{"noise", "-addr", p.addr}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := bufio.NewReader(errs)
	line, err := said.ReadString('\n')
	stop := func() (string, error) {
		_ = in.Close()
		rest, _ := io.ReadAll(said)
		return strings.TrimSpace(line + string(rest)), cmd.Wait()
	}
	if err != nil || strings.TrimSpace(line) != "GOING" {
		said, err := stop()
		return nil, fmt.Errorf("the noise does not begin: %w: %s", err, said)
	}
	line = ""
	return func() (r result, err error) {
		if said, err := stop(); err != nil {
			return r, fmt.Errorf("the noise: %w: %s", err, said)
		}
		err = json.Unmarshal(out.Bytes(), &r)
		return r, err
	}, pause(ctx, 300*time.Millisecond)
}

// noiseRows are the lines of the table, its head first; none if nothing was measured.
func (r *report) noiseRows() [][]string {
	if len(r.Neighbours) == 0 {
		return nil
	}
	head := []string{"p50 / p99 of 1 KB at 1,000/s, µs"}
	for _, pair := range pairings {
		head = append(head, label(pair[0])+", noise over "+label(pair[1]))
	}
	rows := [][]string{append(head, "p99: both Weft ÷ noise direct", "p99: both Weft ÷ silence")}
	silence := r.beside(noises[0].label, [2]string{"l4", ""})
	for _, n := range noises {
		row := []string{n.label}
		var last []*neighbour
		for _, pair := range pairings {
			if n.args == nil {
				pair[1] = ""
			}
			one := r.beside(n.label, pair)
			last = append(last, one)
			row = append(row, one.cell())
		}
		if n.args == nil {
			rows = append(rows, append(row, "", ""))
			continue
		}
		rows = append(rows, append(row, number(quotient(last[2].P99us, last[1].P99us)), number(quotient(last[2].P99us, silence.P99us))))
	}
	return rows
}

// quotient is the median of the quotients within a round.
func quotient(a, b []float64) float64 {
	var qs []float64
	for i := range min(len(a), len(b)) {
		qs = append(qs, a[i]/b[i])
	}
	if len(qs) == 0 {
		return 0
	}
	return median(qs)
}

func (n *neighbour) cell() string {
	if len(n.P50us) == 0 {
		return "–"
	}
	text := number(median(n.P50us)) + " / " + number(median(n.P99us))
	if len(n.Made) > 0 {
		text += fmt.Sprintf(" (beside %s %s)", number(median(n.Made)), n.Unit)
	}
	return text
}
