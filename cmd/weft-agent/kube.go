package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/source/kube"
)

// read makes what is read and what is written: a folder, or a cluster.
func (a *agent) read() (enroll.StatusWriter, error) {
	if !a.c.kubernetes() {
		dirs, err := a.c.dirs()
		if err != nil {
			return nil, err
		}
		dir, err := source.Open(source.Options{Dirs: dirs, Logger: a.log.Named("source")})
		if err != nil {
			return nil, err
		}
		a.watch = newWatcher(a.c.node, dir, a.log)
		return enroll.NewDirStatus(a.c.statusDir), nil
	}
	config, err := kube.Config(a.c.kubeconfig, "weft-agent")
	if err != nil {
		return nil, fmt.Errorf("--source kubernetes: %w", err)
	}
	src, err := kube.New(kube.Options{Config: config, Node: a.c.node, Logger: a.log.Named("source")})
	if err != nil {
		return nil, fmt.Errorf("--source kubernetes: %w", err)
	}
	if a.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("--source kubernetes: %w", err)
	}
	a.events = enroll.NewKubeEvents(a.client.CoreV1(), a.c.node)
	a.watch = newWatcher(a.c.node, src, a.log)
	return enroll.NewKubeStatus(a.client.CoreV1(), a.watch.find), nil
}

// teller tells by Events where there is an API server.
func (a *agent) teller() enroll.Teller {
	if a.events == nil {
		return nil // not a nil *KubeEvents
	}
	return a.events
}

// spaces makes what finds pods' network namespaces.
func (a *agent) spaces() (func(enroll.Pod) (enroll.Namespace, error), error) {
	if a.c.autoNetns() {
		var err error
		if a.finder, err = enroll.NewFinder(); err != nil {
			return nil, err
		}
		a.watch.before = append(a.watch.before, a.running)
		return a.finder.Open, nil
	}
	path, err := enroll.NetnsPattern(a.c.netnsPattern)
	if err != nil {
		return nil, fmt.Errorf("--netns-pattern: %w", err)
	}
	return func(p enroll.Pod) (enroll.Namespace, error) {
		file, err := path(p)
		if err != nil {
			return nil, err
		}
		return enroll.OpenNamespace(file)
	}, nil
}

// running says of which pods there are processes to find them by.
func (a *agent) running(o *source.Objects) {
	for _, p := range o.Pods {
		if p.Value.Status.Phase != corev1.PodPending {
			a.finder.Started(string(p.Value.UID))
		}
	}
}

// cniCalls counts what weft-cni asked.
var cniBuckets = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// meterCNI makes the metrics of the CNI socket.
func (a *agent) meterCNI() {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weft_agent_cni_seconds",
		Help: "Time that weft-cni waited for an answer, by operation and result (ok, error).", Buckets: cniBuckets}, []string{"op", "result"})
	a.metrics.MustRegister(calls)
	a.cniDone = func(op string, err error, took time.Duration) {
		result := "ok"
		if err != nil {
			result = "error"
		}
		calls.WithLabelValues(op, result).Observe(took.Seconds())
	}
}
