package main

import (
	"context"
	"path/filepath"
	"sync"

	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/source"
)

// folderOutput writes a file for the status of each object, and one for each waypoint.
type folderOutput struct {
	log    *zap.Logger
	files  *files
	status *folder
	// deployment is the folder of the waypoints' objects.
	deployment *folder
	before     stamps

	mu       sync.Mutex          // protects rendered
	rendered map[string]rendered // status files, by path
}

func newFolderOutput(c config, m metrics, log *zap.Logger) *folderOutput {
	o := &folderOutput{
		log:        log,
		status:     &folder{name: "status", path: filepath.Join(c.stateDir, "status"), have: map[string]string{}},
		deployment: &folder{name: "deploy", path: c.deployDir, have: map[string]string{}},
	}
	o.files = newFiles(log, m, o.status, o.deployment)
	o.before = adoptStamps(o.status, log)
	return o
}

func (o *folderOutput) set(w wanted) {
	deployments := map[string]string{}
	for _, p := range w.waypoints {
		text, err := p.YAML()
		if err != nil {
			o.log.Error("deploy waypoint", zap.String("waypoint", p.Deployment.Namespace+"/"+p.Deployment.Name), zap.Error(err))
			continue
		}
		deployments[filepath.Join(o.deployment.path, p.Deployment.Namespace+"_"+p.Deployment.Name+".yaml")] = string(text)
	}
	o.files.set(o.deployment, deployments)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rendered = statusFiles(o.status.path, w.objects.Counts(), w.reports, o.rendered, o.log)
	status := make(map[string]string, len(o.rendered))
	for path, r := range o.rendered {
		status[path] = r.text
	}
	o.files.set(o.status, status)
}

// known are those that an earlier run left; this one remembers its own.
func (o *folderOutput) known(*source.Objects) stamps {
	out := o.before
	o.before = nil
	return out
}

func (o *folderOutput) leads() bool { return true }

func (o *folderOutput) run(ctx context.Context, _ func()) { o.files.run(ctx) }

// adoptStamps reads the times out of the status files that an earlier run left.
func adoptStamps(d *folder, log *zap.Logger) stamps {
	if err := d.adopt(); err != nil {
		log.Warn("status of an earlier run not read: transition times begin anew", zap.Error(err))
	}
	out := stamps{}
	for path, text := range d.have {
		var r objectReport
		if err := yaml.Unmarshal([]byte(text), &r); err != nil {
			log.Warn("status of an earlier run not read: its transition times begin anew", zap.String("file", path), zap.Error(err))
			continue
		}
		r.stamp(out)
	}
	return out
}
