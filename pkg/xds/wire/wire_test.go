package wire

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

var sameAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// fullWorkload has every field set.
func fullWorkload() *model.Workload {
	return &model.Workload{
		UID: "c1//Pod/shop/cart-1", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local",
		Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("fd00:244:1::2")},
		Hostname:  "cart-1.cart.shop.svc.cluster.local", Network: "net1", Node: "n1", Cluster: "c1",
		Locality: model.Locality{Region: "r", Zone: "z", Subzone: "s"}, Protocol: model.HBONE, NativeTunnel: true,
		Waypoint:      &model.Gateway{Namespace: "shop", Hostname: "way.shop.svc.cluster.local", Port: 15008},
		CanonicalName: "cart", CanonicalRev: "v1", OwnerKind: "cronjob", OwnerName: "cart",
		Services: map[string][]model.Port{"shop/cart.shop.svc.cluster.local": {{ServicePort: 80, TargetPort: 8080, App: model.AppHTTP}, {ServicePort: 90, TargetPort: 9090, App: model.AppTLS}}},
		Policies: []string{"shop/only-frontend", "shop/strict"}, Unhealthy: true, HostNetwork: true,
	}
}

func fullService() *model.Service {
	return &model.Service{
		Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local",
		Addresses:       []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:96::1")},
		Ports:           []model.Port{{ServicePort: 80, TargetPort: 8080, App: model.AppGRPC, Name: "grpc"}, {ServicePort: 81, TargetPort: 8081, App: model.AppHTTP2, Name: "h2"}, {ServicePort: 82, TargetPort: 8082, App: model.AppTCP, Name: "tcp"}},
		SubjectAltNames: []string{"spiffe://cluster.local/ns/shop/sa/cart"}, Waypoint: &model.Gateway{Address: netip.MustParseAddr("10.96.0.9"), Port: 15009},
		Preference:       []model.Scope{model.ScopeNetwork, model.ScopeRegion, model.ScopeZone, model.ScopeSubzone, model.ScopeNode, model.ScopeCluster},
		StrictPreference: true, PublishNotReady: true, Canonical: true,
		Faults: []model.ConnFault{{Name: "shop/f", From: []model.CallerMatch{{Namespaces: []string{"shop"}, ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "cart"}}}},
			Until: time.Date(2026, 11, 21, 1, 2, 3, 4, time.UTC), DelayPercent: 1.5, Delay: time.Second, RefusePercent: 2, ResetPercent: 3, ResetAfter: 1 << 40,
			BandwidthPercent: 100, Bandwidth: 1 << 20}, {Name: "shop/g"}},
		Carriage: []model.Carriage{{Port: 80, Connect: time.Second, Idle: time.Minute,
			Balance: &model.Balance{Algorithm: model.RoundRobin, SlowStart: &model.SlowStart{Window: time.Hour, Aggression: 1.5, MinPercent: 10}},
			Limits:  &model.ConnectionLimits{Connections: new(uint32(5)), PerEndpoint: new(uint32(6))}, Keepalive: &model.Keepalive{Time: 1, Interval: 2, Probes: 3},
			Outliers: &model.Outliers{ConnectFailures: 1, BaseEjection: 2, MaxEjection: 3, MaxPercent: 4}}, {}},
		Probes: []model.Probe{{ServicePort: 80, HealthCheck: model.HealthCheck{Kind: model.CheckHTTP, Port: 8080, Path: "/ok", Host: "h", Statuses: []uint32{200, 204},
			Service: "s", Interval: time.Second, Timeout: time.Millisecond, Unhealthy: 2, Healthy: 1}}},
		Samples: []model.Sample{{Port: 80, Percentage: 2.5}, {}},
	}
}

func fullPolicy() *model.Policy {
	strs := []model.StringMatch{{Kind: model.Exact, Value: "a"}, {Kind: model.Prefix, Value: "b"}, {Kind: model.Suffix, Value: "c"}, {Kind: model.Presence}}
	accounts := []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "cart"}}
	ips := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("0.0.0.0/0")}
	return &model.Policy{
		Name: "p", Namespace: "shop", Scope: model.ScopeSelector, Action: model.Deny, DryRun: true,
		Rules: []model.Rule{{}, {Clauses: []model.Clause{{}, {Matches: []model.Match{{}, {
			Namespaces: strs, NotNamespaces: strs[:1], ServiceAccounts: accounts, NotServiceAccounts: append(accounts, accounts...),
			Principals: strs[1:], NotPrincipals: strs[2:], SourceIPs: ips, NotSourceIPs: ips[:1], DestinationIPs: ips[1:], NotDestinationIPs: ips[2:],
			Ports: []uint16{80, 65535}, NotPorts: []uint16{0, 22},
		}}}}}},
	}
}

// everySet fails for fields that a full value leaves empty: a field added to the model must travel too.
func everySet(t *testing.T, v any, except ...string) {
	t.Helper()
	rv := reflect.ValueOf(v).Elem()
	for i := range rv.NumField() {
		name := rv.Type().Field(i).Name
		if rv.Field(i).IsZero() && !strings.Contains(" "+strings.Join(except, " ")+" ", " "+name+" ") {
			t.Errorf("%T.%s is not set in this test: set it and see that the wire carries it", v, name)
		}
	}
}

func overTheWire[M proto.Message](t *testing.T, in, out M) M {
	t.Helper()
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func roundTripWorkload(t *testing.T, w *model.Workload) {
	t.Helper()
	got, _, err := DecodeAddress(overTheWire(t, EncodeWorkload(w), &workloadapi.Address{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, got, sameAddr); d != "" {
		t.Errorf("workload changed on the wire:\n%s", d)
	}
}

func roundTripService(t *testing.T, s *model.Service) {
	t.Helper()
	_, got, err := DecodeAddress(overTheWire(t, EncodeService(s), &workloadapi.Address{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got, sameAddr); d != "" {
		t.Errorf("service changed on the wire:\n%s", d)
	}
}

func roundTripPolicy(t *testing.T, p *model.Policy) {
	t.Helper()
	got, err := DecodePolicy(overTheWire(t, EncodePolicy(p), &security.Authorization{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got, sameAddr); d != "" {
		t.Errorf("policy changed on the wire:\n%s", d)
	}
}

func TestEveryFieldRoundTrips(t *testing.T) {
	w, s, p := fullWorkload(), fullService(), fullPolicy()
	everySet(t, w, "Labels")   // for waypoints alone
	everySet(t, s, "Draining") // of a waypoint
	everySet(t, p, "Unsupported")
	everySet(t, &p.Rules[1].Clauses[1].Matches[1], "Token") // a policy with one never gets here as such: it is Unsupported
	everySet(t, &s.Faults[0])
	everySet(t, &s.Faults[0].From[0])
	everySet(t, &s.Carriage[0])
	everySet(t, &s.Probes[0].HealthCheck)
	roundTripWorkload(t, w)
	roundTripService(t, s)
	roundTripPolicy(t, p)
}

func TestVariantsRoundTrip(t *testing.T) {
	for _, kind := range []string{"", "deployment", "cronjob", "job", "pod"} {
		w := fullWorkload()
		w.OwnerKind = kind
		if kind == "" {
			w.OwnerName = ""
		}
		w.Protocol, w.Unhealthy, w.HostNetwork, w.NativeTunnel = model.Plain, false, false, false
		w.Locality, w.Services, w.Policies, w.Waypoint = model.Locality{}, nil, nil, nil
		roundTripWorkload(t, w)
	}
	roundTripWorkload(t, &model.Workload{UID: "u", ServiceAccount: "default", TrustDomain: "cluster.local"})
	roundTripService(t, &model.Service{Namespace: "a", Hostname: "b"})
	for _, change := range []func(*model.Service){
		func(s *model.Service) { s.StrictPreference = false },
		func(s *model.Service) { s.Preference = nil },
		func(s *model.Service) { s.Preference, s.StrictPreference = nil, false },
		func(s *model.Service) { s.PublishNotReady = false },
		func(s *model.Service) { s.Carriage[0].Balance.Algorithm = model.LeastConnections },
		func(s *model.Service) { s.Carriage[0].Balance = &model.Balance{Algorithm: model.RandomEndpoint} },
		func(s *model.Service) {
			s.Carriage[0].Balance = &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{SourceIP: true}}
			s.Carriage[1].Balance = &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{Identity: true}}
		},
		func(s *model.Service) { s.Ports[1].Name, s.Ports[2].App = "", model.AppUnknown },
	} {
		s := fullService()
		change(s)
		roundTripService(t, s)
	}
	for _, scope := range []model.PolicyScope{model.ScopeMesh, model.ScopeNamespace, model.ScopeSelector} {
		for _, action := range []model.Action{model.Allow, model.Deny} {
			p := fullPolicy()
			p.Scope, p.Action, p.DryRun = scope, action, false
			roundTripPolicy(t, p)
			p.Rules = nil
			roundTripPolicy(t, p)
			p.Unsupported = "methods need a waypoint"
			roundTripPolicy(t, p)
		}
	}
}

// Ztunnels of other makers do not know our extension: what they see must fail closed as well.
func TestUnsupportedFailsClosedForOtherMakers(t *testing.T) {
	p := fullPolicy()
	p.Unsupported, p.Action = "methods", model.Allow
	if w := EncodePolicy(p); len(w.GetGroups()) != 0 {
		t.Errorf("an ALLOW that cannot be evaluated has rules that may match: %v", w)
	}
	p.Action = model.Deny
	if w := EncodePolicy(p); len(w.GetGroups()) != 1 || len(w.GetGroups()[0].GetRules()) != 0 {
		t.Errorf("a DENY that cannot be evaluated does not match everything: %v", w)
	}
}

func TestWhatIsNewerThanUsFailsClosed(t *testing.T) {
	for name, change := range map[string]func(*security.Authorization){
		"scope":           func(a *security.Authorization) { a.Scope = 99 },
		"action":          func(a *security.Authorization) { a.Action = 99 },
		"string match":    func(a *security.Authorization) { match(a).Principals[0].MatchType = nil },
		"match extension": func(a *security.Authorization) { match(a).Extensions = []*workloadapi.Extension{{Name: "x"}} },
		"field of a match": func(a *security.Authorization) {
			match(a).ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
		},
		"field of the policy": func(a *security.Authorization) {
			a.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
		},
	} {
		w := EncodePolicy(fullPolicy())
		change(w)
		p, err := DecodePolicy(overTheWire(t, w, &security.Authorization{}))
		if err != nil || p.Unsupported == "" || len(p.Rules) > 0 {
			t.Errorf("%s: %+v, %v; want Unsupported and no rules", name, p, err)
		}
		if name == "action" && p.Action != model.Deny {
			t.Error("an unknown action does not deny")
		}
	}
	w := EncodeService(fullService())
	w.GetService().Ports[0].AppProtocol = 99
	if _, s, err := DecodeAddress(w); err != nil || s.Ports[0].App != model.AppUnknown {
		t.Errorf("unknown application protocol: %v, %v; want it to be sniffed", s, err)
	}
}

func match(a *security.Authorization) *security.Match { return a.Groups[1].Rules[1].Matches[1] }

func TestUnreadable(t *testing.T) {
	workload := func(change func(*workloadapi.Workload)) *workloadapi.Address {
		a := EncodeWorkload(fullWorkload())
		change(a.GetWorkload())
		return a
	}
	service := func(change func(*workloadapi.Service)) *workloadapi.Address {
		a := EncodeService(fullService())
		change(a.GetService())
		return a
	}
	extended := func(change func(*weftv1.Traffic)) *workloadapi.Address {
		return service(func(s *workloadapi.Service) {
			m := encodeTraffic(fullService())
			change(m)
			s.Extensions[1] = encodeExtension(extTraffic, m)
		})
	}
	for name, a := range map[string]*workloadapi.Address{
		"neither":            {},
		"no uid":             workload(func(w *workloadapi.Workload) { w.Uid = "" }),
		"address of 5 bytes": workload(func(w *workloadapi.Workload) { w.Addresses[0] = []byte("12345") }),
		"unknown tunnel":     workload(func(w *workloadapi.Workload) { w.TunnelProtocol = 99 }),
		"port above 65535": workload(func(w *workloadapi.Workload) {
			w.Services["x"] = &workloadapi.PortList{Ports: []*workloadapi.Port{{TargetPort: 70000}}}
		}),
		"waypoint of nothing": workload(func(w *workloadapi.Workload) { w.Waypoint.Destination = nil }),
		"waypoint's port":     workload(func(w *workloadapi.Workload) { w.Waypoint.HboneMtlsPort = 1 << 20 }),
		"no hostname":         service(func(s *workloadapi.Service) { s.Hostname = "" }),
		"unknown preference":  service(func(s *workloadapi.Service) { s.LoadBalancing.RoutingPreference[0] = 99 }),
		"unknown mode":        service(func(s *workloadapi.Service) { s.LoadBalancing.Mode = 99 }),
		"empty VIP":           service(func(s *workloadapi.Service) { s.Addresses[0].Address = nil }),
		"traffic":             extended(func(t *weftv1.Traffic) { t.Faults[0].Until.Nanos = -1 }),
		"garbage for traffic": service(func(s *workloadapi.Service) { s.Extensions[1].Config.Value = []byte{0xff} }),
		"another message":     service(func(s *workloadapi.Service) { s.Extensions[1].Config = s.Extensions[0].Config }),
		"carriage's port":     extended(func(t *weftv1.Traffic) { t.Carriage[0].Port = 70000 }),
		"no failures":         extended(func(t *weftv1.Traffic) { t.Carriage[0].Outliers.ConnectFailures = 0 }),
		"slow start":          extended(func(t *weftv1.Traffic) { t.Carriage[0].SlowStart.Aggression = math.Inf(1) }),
		"unknown check":       extended(func(t *weftv1.Traffic) { t.HealthChecks[0].Kind = 77 }),
		"no interval":         extended(func(t *weftv1.Traffic) { t.HealthChecks[0].Interval = nil }),
		"120 percent":         extended(func(t *weftv1.Traffic) { t.Faults[0].RefusePercent = 120 }),
		"no number":           extended(func(t *weftv1.Traffic) { t.Faults[0].DelayPercent = math.NaN() }),
		"negative delay":      extended(func(t *weftv1.Traffic) { t.Faults[0].Delay.Seconds = -1 }),
		"port names":          service(func(s *workloadapi.Service) { s.Extensions[0].Config.Value = []byte{0xff} }),
	} {
		if w, s, err := DecodeAddress(a); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %v, %v, %v; want ErrUnreadable", name, w, s, err)
		}
	}
	for name, change := range map[string]func(*security.Authorization){
		"no name":       func(a *security.Authorization) { a.Name = "" },
		"block":         func(a *security.Authorization) { match(a).SourceIps[0].Length = 33 },
		"block address": func(a *security.Authorization) { match(a).NotDestinationIps[0].Address = []byte{1} },
		"port":          func(a *security.Authorization) { match(a).NotDestinationPorts[0] = 65536 },
	} {
		w := EncodePolicy(fullPolicy())
		change(w)
		if p, err := DecodePolicy(w); !errors.Is(err, ErrUnreadable) {
			t.Errorf("policy %s: %v, %v; want ErrUnreadable", name, p, err)
		}
	}
}

func FuzzDecodeAddress(f *testing.F) {
	for _, a := range []*workloadapi.Address{EncodeWorkload(fullWorkload()), EncodeService(fullService())} {
		b, _ := proto.Marshal(a)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &workloadapi.Address{}
		if proto.Unmarshal(b, a) != nil {
			return
		}
		w, s, err := DecodeAddress(a)
		if err == nil && (w == nil) == (s == nil) {
			t.Errorf("decoded to %v and %v", w, s)
		}
		if s != nil && encodeTraffic(s) != nil {
			again := &model.Service{}
			if err := decodeTraffic(again, []*workloadapi.Extension{encodeExtension(extTraffic, encodeTraffic(s))}); err != nil || !sameTraffic(s, again) {
				t.Errorf("%+v was read, written and read as %+v: %v", s, again, err)
			}
		}
	})
}

func FuzzDecodePolicy(f *testing.F) {
	b, _ := proto.Marshal(EncodePolicy(fullPolicy()))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &security.Authorization{}
		if proto.Unmarshal(b, a) != nil {
			return
		}
		if p, err := DecodePolicy(a); err == nil && p.Unsupported == "" {
			roundTripPolicy(t, p)
		}
	})
}

// A field that the comparison forgets would be a change that no ztunnel hears of.
func TestComparisonLooksAtEveryField(t *testing.T) {
	everyFieldCounts(t, fullWorkload, SameWorkload)
	everyFieldCounts(t, fullService, SameService)
	everyFieldCounts(t, fullPolicy, SamePolicy)
	for name, change := range map[string]func(*model.Workload){
		"a port":       func(w *model.Workload) { w.Services["shop/cart.shop.svc.cluster.local"][1].TargetPort++ },
		"the waypoint": func(w *model.Workload) { w.Waypoint.Port++ },
		"an address":   func(w *model.Workload) { w.Addresses[1] = w.Addresses[0] },
	} {
		w := fullWorkload()
		change(w)
		if SameWorkload(w, fullWorkload()) {
			t.Errorf("a change of %s is not seen", name)
		}
	}
}

func everyFieldCounts[T any](t *testing.T, full func() *T, same func(a, b *T) bool) {
	t.Helper()
	if !same(full(), full()) {
		t.Errorf("two equal values of %T differ", full())
	}
	typ := reflect.TypeFor[T]()
	for i := range typ.NumField() {
		v := full()
		f := reflect.ValueOf(v).Elem().Field(i)
		if f.IsZero() {
			continue // Policy.Unsupported, which excludes rules
		}
		f.SetZero()
		if same(v, full()) || same(full(), v) {
			t.Errorf("a change of %s.%s is not seen", typ.Name(), typ.Field(i).Name)
		}
	}
}

// Versions are hashes of what is encoded, and the same in every replica.
func TestEqualIsEncodedAlike(t *testing.T) {
	for range 50 { // maps are walked in random order
		for _, m := range []func() proto.Message{
			func() proto.Message { return EncodeService(fullService()) },
			func() proto.Message { return EncodeWorkload(fullWorkload()) },
		} {
			a, errA := Marshal(m())
			b, errB := Marshal(m())
			if err := errors.Join(errA, errB); err != nil || string(a) != string(b) {
				t.Fatalf("%T is encoded in two ways: %v", m(), err)
			}
		}
	}
}
