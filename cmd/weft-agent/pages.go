package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/ztunnel/admin"
)

// adminPages are for people and scripts of this node:
//
//	/pods       each pod of the node, its state and why
//	/counters   what was redirected, passed, refused and dropped
//	/debug      version, ztunnels, cgroups, what the kernel offers
//	/logging    log level; POST ?level=debug changes it
//	/metrics /ready /debug/pprof/
func (a *agent) adminPages(ready func() error) http.Handler {
	pages := admin.Handler(admin.Options{
		Ready: ready, Level: a.level, Metrics: a.metrics,
		Sections: map[string]func() any{
			"pods":     func() any { return a.recon.Views() },
			"counters": a.counters,
			"debug":    a.debug,
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "agent\n\n/pods\n/counters\n/debug\n/logging (POST ?level=)\n/metrics\n/ready\n/debug/pprof/\n")
	})
	return mux
}

// localPages are for weftctl, which reads them from this machine's loopback by port-forwarding. Others on the
// network only get metrics and readiness.
func (a *agent) localPages(mux *http.ServeMux) {
	show := func(path string, page http.HandlerFunc) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
				http.Error(w, "only from this machine's loopback", http.StatusForbidden)
				return
			}
			page(w, r)
		})
	}
	data := func(get func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(get())
		}
	}
	show("/version", version.Page)
	show("/pods", data(func() any { return a.recon.Views() }))
	show("/debug", data(a.debug))
	show("/counters", data(a.counters))
}

// counters are named, zeros left out.
func (a *agent) counters() any {
	counts, err := a.redir.Counters()
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	named := func(set bpf.CounterSet) map[string]uint64 {
		out := map[string]uint64{}
		for i, v := range set {
			if v > 0 {
				out[bpf.Counter(i).String()] = v
			}
		}
		return out
	}
	pods := map[string]map[string]uint64{}
	for uid, set := range counts.Pods {
		pods[uid] = named(set)
	}
	return map[string]any{"total": named(counts.Total), "pods": pods}
}

func (a *agent) debug() any {
	type feature struct {
		Name     string `json:"name"`
		Have     bool   `json:"have"`
		Required bool   `json:"required"`
		Need     string `json:"need"`
		Why      string `json:"why"`
	}
	features := []feature{}
	for _, f := range bpf.Probe() {
		if f.Name == "cgroup2" && a.tree != nil {
			f.Have = true // the agent reads it through process 1; its own container need not have it mounted
		}
		features = append(features, feature{f.Name, f.Have, f.Required, f.Need, f.Why})
	}
	cgroups, err := a.redir.ZtunnelCgroups()
	out := map[string]any{
		"version": version.Version, "node": a.c.node, "pins": a.c.pins(), "ztunnels": a.zds.Peers(),
		"ztunnelCgroups": cgroups, "redirected": a.redir.Pods(), "kernel": features, "sourceProblems": a.watch.problems.Load(),
	}
	if err != nil {
		out["error"] = err.Error()
	}
	return out
}
