package launcher

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/translate"
)

// A module that does not come back hangs one of Envoy's threads, until Envoy is ended by its watchdog. What it prints
// then tells which service the request was for. The modules of that service are not given to another Envoy: the
// controller is told so, in the words of trial.Withheld.

const (
	// maxLooped bounds how many modules are remembered.
	maxLooped = 1024
	// maxVersions bounds what is remembered of a route configuration's past.
	maxVersions = 64
)

// loops knows what the Envoy that runs has been given, and what has ended one before. Safe for concurrent use.
type loops struct {
	hang time.Duration // after which a thread that hangs is ended
	now  func() time.Time
	log  *zap.Logger

	mu         sync.Mutex                    // protects what follows
	routes     map[string]string             // names of route configurations, by the address that they serve
	modules    map[string][]version          // by route configuration, the last one is in force
	unanswered map[string][]translate.Module // by the nonce of the response that they are in
	looped     map[translate.Module]bool
}

// version is what a route configuration ran from some time on.
type version struct {
	since   time.Time
	modules []translate.Module
}

func newLoops(hang time.Duration, now func() time.Time, log *zap.Logger) *loops {
	return &loops{hang: cmp.Or(hang, bootstrap.HangTime), now: now, log: log, routes: map[string]string{}, modules: map[string][]version{},
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
			l.runs(name, nil)
		}
		for _, res := range r.GetResources() {
			name := res.GetName()
			switch {
			case refused != nil && refused.names[name]: // what it had stays
			case len(modules[name]) == 0:
				l.runs(name, nil)
			default:
				l.runs(name, modules[name])
				l.unanswered[r.GetNonce()] = append(l.unanswered[r.GetNonce()], modules[name]...)
			}
		}
	}
}

// runs notes what a route configuration runs from now on. What it ran when a thread began to hang that is to be ended
// now is kept. With the lock held.
func (l *loops) runs(name string, modules []translate.Module) {
	all := l.modules[name]
	if len(all) == 0 && len(modules) == 0 {
		return
	}
	all = append(all, version{l.now(), modules})
	for len(all) > 1 && !all[1].since.After(l.now().Add(-l.hang)) {
		all = all[1:]
	}
	l.modules[name] = all[max(0, len(all)-maxVersions):]
}

// ran lists what a route configuration ran when a thread began to hang that is ended now. With the lock held.
func (l *loops) ran(name string) []translate.Module {
	var out []translate.Module
	for i, v := range l.modules[name] {
		if i == 0 || !v.since.After(l.now().Add(-l.hang)) {
			out = v.modules
		}
	}
	return out
}

// began forgets what was not answered for on the stream before.
func (l *loops) began() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.unanswered)
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
	suspects := l.ran(l.routes[address])
	if address == "" {
		suspects = l.elsewhere()
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

// elsewhere are the suspects where a thread did not hang at a request: modules that are to begin to run; else those that
// have timers; else all, for it may be what one does when a request has ended. With the lock held.
func (l *loops) elsewhere() []translate.Module {
	if begin := slices.Concat(slices.Collect(maps.Values(l.unanswered))...); len(begin) > 0 {
		return begin
	}
	var all []translate.Module
	for name := range l.modules {
		all = append(all, l.ran(name)...)
	}
	timers := slices.DeleteFunc(slices.Clone(all), func(m translate.Module) bool { return !m.Timer })
	if len(timers) > 0 {
		return timers
	}
	return all
}

// How Envoy says that its watchdog ends it, and what it then says of the request that the thread had at hand. A line of
// this kind begins so, and not with what a client or a module wrote: of what is logged newlines are escaped (logFormat).
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
