package launcher

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/translate"
)

// A module that does not come back hangs one of Envoy's threads, until Envoy is ended by its watchdog. What it prints
// then tells which service the request was for. The modules of that service are not given to another Envoy: the
// controller is told so, in the words of trial.Withheld.

// maxLooped bounds how many modules are remembered.
const maxLooped = 1024

// loops knows what the Envoy that runs has been given, and what has ended one before. Safe for concurrent use.
type loops struct {
	log *zap.Logger

	mu         sync.Mutex                    // protects what follows
	routes     map[string]string             // names of route configurations, by the address that they serve
	modules    map[string][]translate.Module // by route configuration
	unanswered map[string][]translate.Module // by the nonce of the response that they are in
	looped     map[translate.Module]bool
}

func newLoops(log *zap.Logger) *loops {
	return &loops{log: log, routes: map[string]string{}, modules: map[string][]translate.Module{},
		unanswered: map[string][]translate.Module{}, looped: map[translate.Module]bool{}}
}

// concern reports whether a frame may be about modules, or the addresses of services.
func (l *loops) concern(f *frame) bool {
	if f.contains(translate.WasmMark) || f.contains(resource.ScopedRouteType) {
		return true
	}
	l.mu.Lock()
	any := len(l.modules) > 0
	l.mu.Unlock()
	return any && f.contains(resource.RouteType)
}

// modulesIn lists the modules of a response's route configurations, by their names.
func modulesIn(r *discoveryv3.DeltaDiscoveryResponse) map[string][]translate.Module {
	if r.GetTypeUrl() != resource.RouteType {
		return nil
	}
	out := map[string][]translate.Module{}
	for _, res := range r.GetResources() {
		rc := &routev3.RouteConfiguration{}
		if bytes.Contains(res.GetResource().GetValue(), []byte(translate.WasmMark)) && res.GetResource().UnmarshalTo(rc) == nil {
			out[res.GetName()] = translate.Modules(rc)
		}
	}
	return out
}

// among lists which of some modules have looped.
func (l *loops) among(modules []translate.Module) []translate.Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []translate.Source
	for _, m := range modules {
		if l.looped[m] {
			out = append(out, m.Extension)
		}
	}
	return out
}

// given notes what Envoy gets of a response.
func (l *loops) given(r *discoveryv3.DeltaDiscoveryResponse, modules map[string][]translate.Module, refused *refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.GetTypeUrl() {
	case resource.ScopedRouteType:
		for _, name := range r.GetRemovedResources() {
			if route, address, _ := strings.Cut(name, "@"); l.routes[address] == route {
				delete(l.routes, address)
			}
		}
		for _, res := range r.GetResources() {
			route, address, _ := strings.Cut(res.GetName(), "@")
			l.routes[address] = route
		}
	case resource.RouteType:
		for _, name := range r.GetRemovedResources() {
			delete(l.modules, name)
		}
		for _, res := range r.GetResources() {
			name := res.GetName()
			switch {
			case refused != nil && refused.names[name]: // what it had stays
			case len(modules[name]) == 0:
				delete(l.modules, name)
			default:
				l.modules[name] = modules[name]
				l.unanswered[r.GetNonce()] = append(l.unanswered[r.GetNonce()], modules[name]...)
			}
		}
	}
}

// waits reports whether Envoy has modules that it has not answered for.
func (l *loops) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unanswered) > 0
}

// answered takes Envoy's answer: it runs the modules of a response, or refuses them.
func (l *loops) answered(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unanswered, nonce)
}

// ended takes the last words of an Envoy that ended by itself. The next one has been given nothing yet.
func (l *loops) ended(said string) {
	hung, address := lastWords(said)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { clear(l.routes); clear(l.modules); clear(l.unanswered) }()
	if !hung {
		return
	}
	suspects := l.modules[l.routes[address]]
	if address == "" { // not at a request: one does not come to run, or one hangs at a timer of its own
		suspects = slices.Concat(slices.Collect(maps.Values(l.unanswered))...)
		if len(suspects) == 0 {
			suspects = slices.Concat(slices.Collect(maps.Values(l.modules))...)
		}
	}
	if len(l.looped)+len(suspects) > maxLooped {
		clear(l.looped)
	}
	for _, m := range suspects {
		l.looped[m] = true
		l.log.Error("Envoy's watchdog ended it while a module ran, which is not served any more", zap.Stringer("module", m.Extension), zap.String("address", address))
	}
	if len(suspects) == 0 {
		l.log.Error("Envoy's watchdog ended it, and no module ran", zap.String("address", address))
	}
}

// How Envoy says that its watchdog ends it, and what it then says of the request that the thread had at hand. A line of
// this kind begins so, and not with what a client or a module wrote.
const (
	watchdogSays = "Watchdog AbortAction terminating thread"
	requestSays  = "OverridableRemoteConnectionInfoSetterStreamInfo "
	addressSays  = " localAddress(): "
)

// lastWords reports whether Envoy was ended by its watchdog, and the address that its request was for; "" is no request.
func lastWords(said string) (hung bool, address string) {
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.Contains(line, watchdogSays) {
			hung, address = true, ""
		}
		if _, at, ok := strings.Cut(line, addressSays); ok && hung && address == "" && strings.HasPrefix(line, requestSays) {
			address, _, _ = strings.Cut(at, ",")
		}
	}
	return hung, address
}

// tail keeps the end of what Envoy prints.
type tail struct {
	mu   sync.Mutex // protects text
	text []byte
}

const maxTail = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text = append(t.text, p...); len(t.text) > 2*maxTail {
		t.text = append(t.text[:0], t.text[len(t.text)-maxTail:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
