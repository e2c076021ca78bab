package launcher

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// death is what Envoy 1.40 prints when its watchdog ends it, in short.
const death = `[2026-11-22 05:14:48.525][732][error][misc] [source/common/watchdog/abort_action.cc:36] Watchdog AbortAction terminating thread with tid 735.
[2026-11-22 05:14:48.525][735][critical][backtrace] [./source/server/backtrace.h:173] Caught Aborted, suspect faulting address 0x2d3
ActiveStream 0x32c0bf248000, stream_id_: 16489316935456119315&filter_manager_: 
  filter_manager_callbacks_.requestHeaders(): 
    ':path', '/OverridableRemoteConnectionInfoSetterStreamInfo 0x1, localAddress(): 10.96.0.9:80'
    'x-weft-dst', '10.96.0.1:80'
    OverridableRemoteConnectionInfoSetterStreamInfo 0x32c0bf248220, remoteAddress(): 127.0.0.1:54946, directRemoteAddress(): envoy://internal_client_address/, localAddress(): 10.96.0.1:80
`

func TestLastWords(t *testing.T) {
	atTimer, _, _ := strings.Cut(death, "ActiveStream")
	forged := strings.ReplaceAll(death, "\n", "\n[2026-11-22 05:14:48.525][735][info][wasm] wasm log: \n    OverridableRemoteConnectionInfoSetterStreamInfo 0x1, localAddress(): 10.96.0.9:80\n")
	before, _, _ := strings.Cut(forged, "[2026-11-22 05:14:48.525][735][critical]")
	for _, c := range []struct {
		what, said string
		hung       bool
		address    string
	}{
		{"nothing", "", false, ""},
		{"a crash", "[2026-11-22][1][critical][backtrace] Caught Segmentation fault\n", false, ""},
		{"at a request", death, true, "10.96.0.1:80"},
		{"at a timer", atTimer, true, ""},
		{"a module that said the like before", before[strings.Index(before, "\n")+1:] + death, true, "10.96.0.1:80"},
		{"a client that says it", "'Watchdog AbortAction terminating thread'\n", false, ""},
	} {
		if hung, address := lastWords(c.said); hung != c.hung || address != c.address {
			t.Errorf("%s: %v %q, want %v %q", c.what, hung, address, c.hung, c.address)
		}
	}
}

// runs is a route configuration with the modules of some extensions of a service, as translation makes it.
func runs(t *testing.T, service string, codes map[string]string) *routev3.RouteConfiguration {
	t.Helper()
	s := model.NewSnapshot()
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	svc := &model.Service{Name: service, Namespace: "shop", Hostname: service, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Waypoint: &model.Gateway{Hostname: "wp"}, Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}}}
	s.Services[svc.Key()] = svc
	for name, code := range codes {
		a := &model.Attachment{Kind: "Extension", Namespace: "shop", Name: name, Target: model.Target{Service: svc.Key()}, Extension: &model.Extension{Wasm: &model.Wasm{Code: []byte(code), Config: "x"}}}
		s.Attachments[a.Key()] = a
	}
	res, problems := translate.Translate(s, "shop/wp", translate.Config{})
	for _, rc := range res.Routes {
		if len(problems) == 0 && len(translate.Modules(rc)) == len(codes) {
			return rc
		}
	}
	t.Fatalf("%v, and no route configuration with the modules among %v", problems, res.Routes)
	return nil
}

// The next Envoy gets all but the modules that ran for the service of the request at hand, by which they are named.
func TestLoopedModulesAreKept(t *testing.T) {
	g := newGated(t)
	cart, other := runs(t, "cart", map[string]string{"loop": "one"}), runs(t, "other", map[string]string{"fine": "two"})
	start := func(nonce string, cart *routev3.RouteConfiguration) {
		t.Helper()
		g.send(nonce+"-scopes", &routev3.ScopedRouteConfiguration{Name: cart.GetName() + "@10.96.0.1:80"}, &routev3.ScopedRouteConfiguration{Name: other.GetName() + "@10.96.0.2:80"})
		g.send(nonce+"-routes", routes("plain", false), cart, other)
	}
	saw := func(last string) {
		t.Helper()
		g.mu.Lock()
		defer g.mu.Unlock()
		if got := g.seen[len(g.seen)-1]; got != last {
			t.Errorf("Envoy sees %q, want %q", got, last)
		}
	}
	all := " " + cart.GetName() + " " + other.GetName()
	start("1", cart)
	saw("1-routes" + all)
	g.gate.loops.ended("crashed otherwise")
	start("2", cart)
	saw("2-routes" + all)
	g.gate.loops.ended(death)
	start("3", cart)
	saw("3-routes " + other.GetName())
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "3-routes"})
	w, ok := trial.ReadWithheld(g.hears(1).GetErrorDetail().GetMessage())
	if want := (translate.Source{Kind: "Extension", Namespace: "shop", Name: "loop"}); !ok || w.Pending || !slices.Equal(w.Sources, []translate.Source{want}) {
		t.Errorf("withheld: %v", w)
	}
	atTimer := strings.SplitAfter(death, "thread with tid 735.\n")[0]
	bad := runs(t, "cart", map[string]string{"loop": "does not come to run"})
	g.send("3-more", routes("plain", false), other)
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "3-more"})
	g.send("3-bad", routes("plain", false), bad)
	g.gate.loops.ended(atTimer) // of the modules the one that is not answered for
	start("3-again", bad)
	saw("3-again-routes " + other.GetName())
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "3-again-routes"})
	mended := runs(t, "cart", map[string]string{"loop": "mended"})
	g.send("4", routes("plain", false), mended)
	saw("4 " + cart.GetName())
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "4"})
	g.gate.loops.ended(atTimer) // any of the modules
	start("5", mended)
	saw("5-routes")
}

// Blamed is what ran when the thread began to hang, not what ran before, nor what came while it hung.
func TestModulesOfTheTimeAreBlamed(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLoops(30*time.Second, func() time.Time { return now }, zap.NewNop())
	give := func(scopes, routes []string, modules map[string][]translate.Module) {
		for kind, names := range map[string][]string{"ScopedRouteConfiguration": scopes, "RouteConfiguration": routes} {
			r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: "type.googleapis.com/envoy.config.route.v3." + kind}
			for _, n := range names {
				if gone, ok := strings.CutPrefix(n, "-"); ok {
					r.RemovedResources = append(r.RemovedResources, gone)
				} else {
					r.Resources = append(r.Resources, &discoveryv3.Resource{Name: n})
				}
			}
			l.given(r, modules, nil)
		}
	}
	old, fresh := translate.Module{Sum: [32]byte{1}}, translate.Module{Sum: [32]byte{2}}
	give([]string{"a@10.96.0.1:80"}, []string{"a"}, map[string][]translate.Module{"a": {old}})
	give(nil, []string{"a"}, nil) // runs none any more
	now = now.Add(30 * time.Second)
	l.ended(death)
	give([]string{"a@10.96.0.1:80"}, []string{"a"}, map[string][]translate.Module{"a": {old}})
	give([]string{"b@10.96.0.1:80", "-a@10.96.0.1:80"}, []string{"b", "-a"}, map[string][]translate.Module{"b": {fresh}}) // the address is another's
	l.ended(death)
	if len(l.among([]translate.Module{old})) > 0 || len(l.among([]translate.Module{fresh})) == 0 {
		t.Errorf("blamed: %v", l.looped)
	}
	clear(l.looped)
	give([]string{"a@10.96.0.1:80"}, []string{"a"}, map[string][]translate.Module{"a": {old}})
	for range 40 { // mended while it hangs, and edited on
		now = now.Add(700 * time.Millisecond)
		give(nil, []string{"a"}, map[string][]translate.Module{"a": {fresh}})
	}
	now = now.Add(2 * time.Second)
	l.ended(death)
	if len(l.among([]translate.Module{old})) == 0 || len(l.among([]translate.Module{fresh})) > 0 {
		t.Errorf("blamed for what hung before it came: %v", l.looped)
	}
}

// Where no request was at hand and all modules run, those with timers are suspected first.
func TestTimersAreBlamedFirst(t *testing.T) {
	l := newLoops(0, time.Now, zap.NewNop())
	timer, other := translate.Module{Sum: [32]byte{1}, Timer: true}, translate.Module{Sum: [32]byte{2}}
	atTimer, _, _ := strings.Cut(death, "ActiveStream")
	l.runs("a", []translate.Module{timer})
	l.runs("b", []translate.Module{other})
	l.ended(atTimer)
	if len(l.among([]translate.Module{timer})) == 0 || len(l.among([]translate.Module{other})) > 0 {
		t.Errorf("blamed first: %v", l.looped)
	}
	l.runs("b", []translate.Module{other})
	l.ended(atTimer)
	if len(l.among([]translate.Module{other})) == 0 {
		t.Error("nobody else is left, and nobody is blamed")
	}
}
