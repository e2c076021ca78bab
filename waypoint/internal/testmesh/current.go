package testmesh

import "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

// Connected reports whether Envoy has asked for anything yet.
func (e *Envoy) Connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked) > 0
}

// Current reports whether Envoy has answered what was published last, and has got the endpoints of all clusters in
// it: an answered subscription waits for more.
func (e *Envoy) Current() bool {
	e.mu.Lock()
	asked := len(e.asked)
	e.mu.Unlock()
	info := e.Cache.GetStatusInfo(e.Node)
	if info != nil && info.GetNumDeltaWatches() < asked {
		return false
	}
	snap, err := e.Cache.GetSnapshot(e.Node)
	if err != nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range snap.GetResources(resource.EndpointType) {
		if !e.has[name] {
			return false
		}
	}
	return true
}

// owns notes which endpoints Envoy has got, and which not any more. Call with mu held.
func (e *Envoy) owns(typeURL string, more, less []string) {
	if typeURL != resource.EndpointType {
		return
	}
	for _, name := range less {
		delete(e.has, name)
	}
	for _, name := range more {
		e.has[name] = true
	}
}
