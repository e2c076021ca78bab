package main

import (
	"context"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// output is where it goes what the controller decided: files of two folders, or objects of a cluster.
type output interface {
	// set replaces what is wanted. It does not wait.
	set(wanted)
	// known are the times of conditions that were written before: by an earlier run, or another replica.
	known(*source.Objects) stamps
	// leads reports whether this replica is the one that writes.
	leads() bool
	// run writes until ctx ends, and then what is left to write. It calls refresh, which brings up to date what is
	// set, where it begins to write in another replica's place.
	run(ctx context.Context, refresh func())
}

// wanted is everything that is to be written.
type wanted struct {
	objects   *source.Objects
	reports   []objectReport
	waypoints []*deploy.Objects
}

// clusterOutput writes objects.
type clusterOutput struct {
	writer *cluster.Writer
	log    *zap.Logger
}

func (o clusterOutput) set(w wanted) {
	reports := make([]cluster.Report, len(w.reports))
	for i, r := range w.reports {
		reports[i] = cluster.Report{Status: r.Status, Problems: r.Problems}
	}
	o.writer.Set(&cluster.Wanted{Objects: w.objects, Reports: reports, Waypoints: w.waypoints})
}

func (o clusterOutput) known(objs *source.Objects) stamps {
	out := stamps{}
	for _, s := range cluster.Written(objs) {
		r := objectReport{Status: s}
		r.stamp(out)
	}
	return out
}

func (o clusterOutput) leads() bool { return o.writer.Leads() }

func (o clusterOutput) run(ctx context.Context, refresh func()) {
	if err := o.writer.Run(ctx, refresh); err != nil {
		o.log.Error("nothing is written to the API server", zap.Error(err))
	}
}
