package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/checks"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// Options of Write.
type Options struct {
	// Cluster to report on.
	Cluster *cluster.Cluster
	// Get reads a page of a program.
	Get func(ctx context.Context, p *cluster.Program, path string) ([]byte, error)
	// Versions is what weftctl knows of itself and of the programs, for versions.json.
	Versions any
	// Lines of each log, from its end; 5000 when zero.
	Lines int64
	// Now names the archive's folder; the real time when zero.
	Now time.Time
	// Progress is told what is gathered; nil: nobody.
	Progress func(what string)
}

// pages of each program. None shows a private key.
var pages = map[string][]string{
	cluster.Controller: {"/debug/status", "/debug/objects", "/debug/clients", "/debug/snapshot", "/metrics"},
	cluster.Agent:      {"/pods", "/debug", "/counters", "/metrics"},
	cluster.Ztunnel:    {"/config_dump", "/connections", "/certificates", "/metrics"},
	api.WaypointClass:  {"/metrics"},
}

type reporter struct {
	o Options
	a *archive
}

// Write gathers all and writes the archive. What could not be had is noted in it and is no error.
func Write(ctx context.Context, w io.Writer, o Options) (files []string, err error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Lines == 0 {
		o.Lines = 5000
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	r := &reporter{o: o, a: newArchive(w, "weft-report-"+o.Now.UTC().Format("20060102-150405"), o.Now)}
	o.Progress("checks and versions")
	r.json("versions", o.Versions)
	results, facts := checks.Run(ctx, checks.Options{Cluster: o.Cluster, Get: o.Get, Now: o.Now}, checks.Installed)
	if facts.Unreachable != nil {
		return nil, o.Cluster.Explain(facts.Unreachable)
	}
	r.json("check", results)
	r.json("kubernetes", facts.Version)
	r.json("enrolment", facts.Tallies())
	o.Progress("objects and events")
	r.objects(ctx)
	o.Progress(fmt.Sprintf("pages and logs of %d programs", len(facts.Programs)))
	r.programs(ctx, facts.Programs)
	if err := r.a.close(); err != nil {
		return nil, err
	}
	return r.a.files, ctx.Err()
}

func (r *reporter) json(name string, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		r.a.failed(name, err)
		return
	}
	r.a.add(name+".json", append(data, '\n'))
}

// programs reads pages and logs, some programs at a time.
func (r *reporter) programs(ctx context.Context, all []*cluster.Program) {
	var g errgroup.Group
	g.SetLimit(8)
	for _, p := range all {
		g.Go(func() error {
			folder := "programs/" + strings.ReplaceAll(p.Name(), "/", "-") + "_" + p.Pod
			if p.Running() && r.o.Get != nil {
				for _, page := range pages[p.Kind] {
					r.page(ctx, p, folder, page)
				}
			}
			for _, c := range p.Object.Spec.Containers {
				r.log(ctx, p, folder, c.Name, false)
			}
			for _, s := range p.Object.Status.ContainerStatuses {
				if s.RestartCount > 0 {
					r.log(ctx, p, folder, s.Name, true)
				}
			}
			return nil
		})
	}
	_ = g.Wait()
}

func (r *reporter) page(ctx context.Context, p *cluster.Program, folder, page string) {
	name := folder + "/" + strings.ReplaceAll(strings.TrimPrefix(page, "/"), "/", "-")
	body, err := r.o.Get(ctx, p, page)
	if err != nil {
		r.a.failed(name, err)
		return
	}
	if page == "/metrics" {
		r.a.add(name+".txt", body)
		return
	}
	r.a.add(name+".json", body)
}

func (r *reporter) log(ctx context.Context, p *cluster.Program, folder, container string, previous bool) {
	name := folder + "/" + container
	if previous {
		name += ".previous"
	}
	stream, err := r.o.Cluster.Logs(ctx, p.Namespace, p.Pod, corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &r.o.Lines, Timestamps: true})
	if err != nil {
		r.a.failed(name+".log", err)
		return
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, 32<<20))
	if err != nil {
		r.a.failed(name+".log", err)
	}
	r.a.add(name+".log", text)
}
