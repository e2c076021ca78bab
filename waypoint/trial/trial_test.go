package trial_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// saying is a route configuration that adds a header to answers.
func saying(value string) trial.Candidate {
	return trial.Candidate{Routes: []*routev3.RouteConfiguration{{
		Name: "shop/cart:80", VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "elsewhere"}}},
		}}}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-said", Value: value}}},
		ValidateClusters:     wrapperspb.Bool(false),
	}}}
}

// crashing is a cluster at which this Envoy panics: it would check what is behind internal listeners.
func crashing() trial.Candidate {
	check := durationpb.New(time.Second)
	return trial.Candidate{Clusters: []*clusterv3.Cluster{{
		Name: "checked", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "checked", Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
					AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "trial-0"}, EndpointId: "x",
				}}},
			}}}},
		}}},
		HealthChecks: []*corev3.HealthCheck{{
			Timeout: check, Interval: check, UnhealthyThreshold: wrapperspb.UInt32(1), HealthyThreshold: wrapperspb.UInt32(1),
			HealthChecker: &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}},
		}},
	}}}
}

// script stands where Envoy is expected.
func script(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	envoy := testmesh.Binary(t)
	for _, c := range []struct {
		what, binary string
		candidate    trial.Candidate
		limit        time.Duration
		want         trial.Outcome
		words        string
	}{
		{"what is fine", envoy, saying("hello"), time.Minute, trial.Accepted, ""},
		{"what Envoy refuses", envoy, saying("%NOSUCH(x)%"), time.Minute, trial.Refused, "NOSUCH"},
		{"what Envoy crashes at", envoy, crashing(), time.Minute, trial.Crashed, "not implemented"},
		{"what Envoy hangs at", script(t, "sleep 1000 & wait"), saying("hello"), time.Second / 10, trial.Hung, "no verdict within 100ms"},
		{"what eats all memory", script(t, `until [ "$(ulimit -d)" = 262144 ]; do sleep 0.01; done; exec tail /dev/zero`), saying("hello"), time.Minute, trial.Refused, "memory"},
		{"an Envoy that is not there", "/nowhere/envoy", saying("hello"), time.Minute, trial.NotRun, "/nowhere/envoy"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			err := trial.Run(t.Context(), trial.Options{Binary: c.binary, Dir: dir, Limit: c.limit, Memory: 256 << 20}, c.candidate)
			got, words := trial.Accepted, ""
			if r := (*trial.Refusal)(nil); errors.As(err, &r) {
				got, words = r.Outcome, r.Words
			} else if err != nil {
				t.Fatal(err)
			}
			if got != c.want || !strings.Contains(words, c.words) {
				t.Errorf("%s %q, want %s with %q", got, words, c.want, c.words)
			}
			if strings.Contains(words, dir) || len(words) > 1000 || strings.Contains(words, "\n") {
				t.Errorf("not for people: %q", words)
			}
			t.Log(err)
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A trial that nobody waits for any more is no refusal.
func TestRunIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	binary := script(t, "sleep 1000")
	done := make(chan error, 1)
	go func() { done <- trial.Run(ctx, trial.Options{Binary: binary, Dir: t.TempDir()}, saying("x")) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// A patch is judged whatever modules run beside it.
func TestPatchesBesideModules(t *testing.T) {
	code, err := os.ReadFile("../e2e/testdata/header.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]trial.Outcome{"hello": trial.Accepted, "%NOSUCH(x)%": trial.Refused} {
		s := model.NewSnapshot()
		s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
		svc := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Waypoint: &model.Gateway{Hostname: "wp"}, Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}}}
		s.Services[svc.Key()] = svc
		for kind, a := range map[string]*model.Attachment{
			"Extension": {Extension: &model.Extension{Wasm: &model.Wasm{Code: code, Config: "x"}}},
			translate.KindPatch: {Patch: &model.EnvoyPatch{Patches: []model.ResourcePatch{{Type: "RouteConfiguration",
				Operations: `[{"op": "add", "path": "/response_headers_to_add", "value": [{"header": {"key": "x", "value": "` + header + `"}}]}]`}}}},
		} {
			a.Kind, a.Namespace, a.Name, a.Target = kind, "shop", "x", model.Target{Service: svc.Key()}
			s.Attachments[a.Key()] = a
		}
		res, problems := translate.Translate(s, "shop/wp", translate.Config{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var c trial.Candidate
		modules := 0
		for _, rc := range res.Routes {
			modules += len(translate.Modules(rc))
			packed, err := anypb.New(rc)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Add(packed); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.Routes) != 1 || modules != 1 {
			t.Fatalf("%d patched route configurations and %d modules, want one of each", len(c.Routes), modules)
		}
		err := trial.Run(t.Context(), trial.Options{Binary: testmesh.Binary(t), Dir: t.TempDir(), Limit: time.Minute, Memory: 256 << 20}, c)
		if got := trial.OutcomeOf(err); got != want {
			t.Errorf("a patch that says %q: %s, want %s: %v", header, got, want, err)
		}
	}
}
