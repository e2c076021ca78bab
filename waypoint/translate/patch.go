package translate

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// Patches change what translation made of a target, at its very end. One that cannot be applied, or that changes
// what it may not, is not in force at all. What has been patched is marked: the launcher gives it to an Envoy of its
// own first, and what that refuses, Isolator puts back to the last good one.

const (
	// KindPatch is the Source.Kind of patches.
	KindPatch = "EnvoyPatch"
	// PatchMark is the key of the metadata of clusters and route configurations that a patch has changed.
	PatchMark = "weft.dev/patched"

	patchRoute = "RouteConfiguration"
)

// patchesOf lists the patches that concern a target: the widest is applied first, so that the narrowest wins.
func (b *builder) patchesOf(t *target) []*model.Attachment {
	out := slices.Clone(b.attached(KindPatch, t, nil, nil))
	slices.Reverse(out)
	return out
}

// patchCluster has to be the last to see the cluster.
func (b *builder) patchCluster(t *target, c *clusterv3.Cluster) []Source {
	var owners []Source
	for _, a := range b.patchesOf(t) {
		if out := patchWith(b, a, "Cluster", c, fixedOfCluster); out != nil {
			proto.Reset(c)
			proto.Merge(c, out)
			owners = append(owners, attachmentSource(a))
		}
	}
	c.Metadata = mark(c.Metadata, owners)
	return owners
}

// patchRoutes has to be the last to see the routes, with the filters of patches among them.
func (b *builder) patchRoutes(t *target, rc *routeConfig) {
	for _, a := range b.patchesOf(t) {
		if out := patchWith(b, a, patchRoute, rc.config, fixedOfRoutes); out != nil {
			rc.config = out
			rc.owners = append(rc.owners, attachmentSource(a))
		}
	}
	rc.config.Metadata = mark(rc.config.Metadata, rc.owners)
}

// mark names the patches among the owners of something in its metadata, which no patch may change.
func mark(m *corev3.Metadata, owners []Source) *corev3.Metadata {
	var by []string
	for _, o := range owners {
		if o.Kind == KindPatch {
			by = append(by, o.Namespace+"/"+o.Name)
		}
	}
	if by == nil {
		return m
	}
	slices.Sort(by)
	names := structpb.NewStringValue(strings.Join(slices.Compact(by), " "))
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	proto.Merge(out, m)
	out.FilterMetadata[PatchMark] = &structpb.Struct{Fields: map[string]*structpb.Value{"by": names}}
	return out
}

// patchWith is nil where the attachment has no patch of the type, or one that is not in force. fixed is what of a
// message no patch may change.
func patchWith[M proto.Message](b *builder, a *model.Attachment, kind string, m M, fixed func(M) M) M {
	var none M
	out, changed := m, false
	for i, p := range a.Patch.Patches {
		if p.Type != kind {
			continue
		}
		next, err := applyPatch(out, p.Operations)
		if err == nil {
			if path := difference(fixed(m), fixed(next)); path != "" {
				err = fmt.Errorf("%s is what guards or carries the mesh, and may not be changed", path)
			}
		}
		if err != nil {
			b.problem(attachmentSource(a), "not in force: patches[%d] of a %s: %v", i, kind, err)
			return none
		}
		out, changed = next, true
	}
	if !changed {
		return none
	}
	return out
}

// applyPatch goes by way of JSON, with the field names of Envoy's documentation. The result has to be the same kind
// of message, without a field too many.
func applyPatch[M proto.Message](m M, operations string) (M, error) {
	var none M
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return none, err
	}
	patch, err := jsonpatch.DecodePatch([]byte(operations))
	if err != nil {
		return none, err
	}
	opts := jsonpatch.NewApplyOptions()
	opts.EnsurePathExistsOnAdd = true
	if text, err = patch.ApplyWithOptions(text, opts); err != nil {
		return none, err
	}
	out := m.ProtoReflect().New().Interface().(M)
	if err := protojson.Unmarshal(text, out); err != nil {
		return none, err
	}
	if v, ok := any(out).(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return none, err
		}
	}
	return out, nil
}

// fixedOfCluster is everything but how many calls a cluster takes, how they are spread, and when they are given up.
// Where its endpoints are, who they are and how they are reached stays, and so do filters on the way; active health
// checks run where Envoy has no tunnels.
func fixedOfCluster(in *clusterv3.Cluster) *clusterv3.Cluster {
	c := proto.Clone(in).(*clusterv3.Cluster)
	c.ConnectTimeout, c.PerConnectionBufferLimitBytes, c.CircuitBreakers, c.OutlierDetection = nil, nil, nil, nil
	c.LbPolicy, c.LbConfig, c.CommonLbConfig, c.LoadBalancingPolicy = 0, nil, nil, nil
	return c
}

// fixedOfRoutes is everything but headers, timeouts, retries, hashing and rewrites. Which requests a route takes, where
// it sends them and what is enforced on it stays.
func fixedOfRoutes(in *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	rc := proto.Clone(in).(*routev3.RouteConfiguration)
	rc.ResponseHeadersToAdd, rc.ResponseHeadersToRemove, rc.MaxDirectResponseBodySizeBytes = nil, nil, nil
	for _, vh := range rc.VirtualHosts {
		vh.RequestHeadersToAdd, vh.RequestHeadersToRemove, vh.ResponseHeadersToAdd, vh.ResponseHeadersToRemove = nil, nil, nil, nil
		vh.RetryPolicy, vh.HedgePolicy, vh.IncludeRequestAttemptCount, vh.IncludeAttemptCountInResponse = nil, nil, false, false
		for _, r := range vh.Routes {
			r.RequestHeadersToAdd, r.RequestHeadersToRemove, r.ResponseHeadersToAdd, r.ResponseHeadersToRemove = nil, nil, nil, nil
			if a := r.GetRoute(); a != nil {
				a.Timeout, a.IdleTimeout, a.MaxStreamDuration, a.RetryPolicy, a.HedgePolicy, a.HashPolicy = nil, nil, nil, nil, nil, nil
				a.PrefixRewrite, a.RegexRewrite, a.HostRewriteSpecifier, a.AppendXForwardedHost, a.Priority = "", nil, nil, false, 0
			}
		}
	}
	return rc
}
