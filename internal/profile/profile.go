// Package profile serves profiles of the running program, as every program of ours does.
package profile

import (
	"net/http"
	"net/http/pprof"
)

// Pages adds /debug/pprof/ for go tool pprof. They tell much and cost something: never on a port that strangers reach.
func Pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
