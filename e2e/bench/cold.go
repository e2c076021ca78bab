package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// coldServers are pods that are called once each while the caller's ztunnel has a tunnel to none of them.
const coldServers = 8

// many is a namespace of servers without a client.
const many = `apiVersion: v1
kind: Namespace
metadata: {name: cold, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: cold}
spec:
  replicas: %d
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      nodeSelector: {kubernetes.io/hostname: n2}
      containers: [{name: app, image: bench/load, args: [serve, -addr, ":9000"], ports: [{containerPort: 9000}]}]
`

// coldPaths names what the paths call in the test of first connections: in the mesh pods that are spoken to by nobody
// else, peers by their address without pools. A path without cold addresses is left out.
func (w *world) coldPaths(ctx context.Context) error {
	for _, p := range w.paths {
		switch p.name {
		case "direct":
			p.cold = strings.Split(strings.Repeat(p.addr+" ", coldServers-1)+p.addr, " ")
		case "l4":
			pods, err := w.podsOf(ctx, "cold", "server", coldServers)
			if err != nil {
				return err
			}
			for _, pod := range pods {
				p.cold = append(p.cold, fmt.Sprintf("%s:%d", pod.Status.PodIP, appPort))
			}
		}
		if len(p.cold) > 0 {
			if _, err := w.cold(ctx, p); err != nil { // once, that all have their certificates
				return err
			}
		}
	}
	return nil
}

// cold has the path's client connect once to each cold address, all at once, again and again, and sees to it that
// the mesh has no tunnel each time: the caller's ztunnel gives up those that it has.
func (w *world) cold(ctx context.Context, p *path) (r result, err error) {
	cmd := w.inClient(ctx, p, "cold", "-addrs", strings.Join(p.cold, ","))
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return r, err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	said := bufio.NewReader(errs)
	err = w.passes(ctx, p, in, said)
	_ = in.Close()
	rest, _ := io.ReadAll(said)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return r, fmt.Errorf("first connections over %s: %w: %s", p.name, err, strings.TrimSpace(string(rest)))
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, err
	}
	if r.Errors > 0 {
		return r, fmt.Errorf("first connections over %s: %d of %d failed: %s", p.name, r.Errors, r.Requests, strings.TrimSpace(string(rest)))
	}
	return r, nil
}

// passes asks for one after the other, for as long as a timed test is.
func (w *world) passes(ctx context.Context, p *path, in io.Writer, said *bufio.Reader) error {
	for began := time.Now(); time.Since(began) < time.Duration(w.o.seconds*float64(time.Second)); {
		if p.name == "l4" {
			if err := w.retire(ctx, "n1"); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(in); err != nil {
			return err
		}
		for {
			line, err := said.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) == "DONE" {
				break
			}
		}
	}
	return nil
}

// retire has a node's ztunnel give up its tunnels.
func (w *world) retire(ctx context.Context, node string) error {
	body, err := w.ask(ctx, http.MethodPost, node, "/retire")
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		err = errors.Join(err, body.Close())
	}
	return err
}

// peerAddresses are what a peer's script prints last: where it is called, and before it perhaps "cold" and where it is
// called without pools and resumed sessions.
func peerAddresses(out []byte) (addr string, cold []string) {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		if a, ok := strings.CutPrefix(line, "cold "); ok {
			for range coldServers {
				cold = append(cold, a)
			}
		}
	}
	return lines[len(lines)-1], cold
}
