package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// group is an API that is not part of Kubernetes, or not of every version of it.
type group struct {
	name     string
	versions []string          // that we read, the best first
	kinds    map[string]string // by resource
	install  string            // what brings it; "" where it is well to be without
}

var groups = []group{
	{gatewayv1.GroupName, []string{"v1", "v1beta1"}, map[string]string{
		"gateways": "Gateway", "gatewayclasses": "GatewayClass", "httproutes": "HTTPRoute", "grpcroutes": "GRPCRoute", "tcproutes": "TCPRoute", "tlsroutes": "TLSRoute",
		"referencegrants": "ReferenceGrant",
	}, "install the resources of Gateway API v1.6 (https://gateway-api.sigs.k8s.io)"},
	{networkingv1.GroupName, []string{"v1", "v1beta1"}, map[string]string{"servicecidrs": "ServiceCIDR"}, ""},
	{api.Group, []string{api.Version}, byResource(api.Resources), "install or upgrade Weft's chart, which brings them"},
}

func byResource(resources map[string]string) map[string]string {
	out := map[string]string{}
	for kind, resource := range resources {
		out[resource] = kind
	}
	return out
}

// findResources begins to read every resource that is installed, and goes on looking for the others until
// ctx ends. It returns when the server has said which there are; false when ctx ended before.
func (s *Source) findResources(ctx context.Context) bool {
	found := map[string]bool{}
	n := &notice{kind: "CustomResourceDefinition", log: s.o.Logger}
	for {
		complete, err := s.look(ctx, found)
		n.told(ctx, err)
		if err == nil {
			if !complete {
				s.running.Go(func() { s.goOnLooking(ctx, found, n) })
			}
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(s.o.LookEvery):
		}
	}
}

func (s *Source) goOnLooking(ctx context.Context, found map[string]bool, n *notice) {
	for complete := false; !complete; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.o.LookEvery):
		}
		var err error
		complete, err = s.look(ctx, found)
		n.told(ctx, err)
	}
}

// look asks which resources are installed and begins to read the new ones. An error is one of asking.
func (s *Source) look(ctx context.Context, found map[string]bool) (complete bool, err error) {
	var missing []source.Problem
	var fresh []*store
	for _, g := range groups {
		served, err := s.served(ctx, g)
		if err != nil {
			return false, err
		}
		for _, resource := range sortedKeys(g.kinds) {
			name := resource + "." + g.name
			version, ok := served[resource]
			if found[name] {
				continue
			}
			if !ok && g.install == "" {
				continue
			}
			if !ok {
				missing = append(missing, notInstalled(g, resource, served))
				continue
			}
			found[name] = true
			s.o.Logger.Debug("reading a resource", zap.String("resource", name), zap.String("version", version))
			st := s.custom(g.kinds[resource], schema.GroupVersionResource{Group: g.name, Version: version, Resource: resource})
			st.optional = g.install == ""
			fresh = append(fresh, st)
		}
	}
	s.mu.Lock()
	before := s.missing
	s.missing = missing
	s.mu.Unlock()
	for _, p := range missing {
		if !slices.ContainsFunc(before, func(q source.Problem) bool { return p.Name == q.Name }) {
			s.o.Logger.Warn(p.String())
		}
	}
	if !slices.Equal(before, missing) {
		s.touch()
	}
	s.start(ctx, fresh...)
	return len(missing) == 0, nil
}

// served says in which version that we read each resource of a group is served.
func (s *Source) served(ctx context.Context, g group) (map[string]string, error) {
	out := map[string]string{}
	for _, version := range g.versions {
		list := &metav1.APIResourceList{}
		err := s.discovery.RESTClient().Get().AbsPath("/apis", g.name, version).Do(ctx).Into(list)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the resources of %s/%s: %w", g.name, version, err)
		}
		for _, r := range list.APIResources {
			if _, better := out[r.Name]; !better && g.kinds[r.Name] == r.Kind {
				out[r.Name] = version
			}
		}
	}
	return out, nil
}

func notInstalled(g group, resource string, served map[string]string) source.Problem {
	p := source.Problem{
		Severity: source.Warning, Kind: "CustomResourceDefinition", Name: resource + "." + g.name,
		Message:    fmt.Sprintf("not installed in version %s: objects of kind %s are not known", strings.Join(g.versions, " or "), g.kinds[resource]),
		Suggestion: g.install,
	}
	if len(served) > 0 {
		p.Suggestion = "other resources of the group are there: " + p.Suggestion
	}
	return p
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// hint says what an error of the API server probably means.
func hint(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "the role of our service account lacks a right, install the chart again"
	case apierrors.IsUnauthorized(err):
		return "our token is not accepted any more"
	case apierrors.IsNotFound(err):
		return "the resource was removed"
	}
	return "is the server running, and reachable from here?"
}
