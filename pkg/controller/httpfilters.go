package controller

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// Reasons of routes whose HTTPFilter cannot be used.
const (
	reasonFilterNotFound = "FilterNotFound"
	reasonFilterInvalid  = "FilterInvalid"
)

// httpFilter is an HTTPFilter, compiled.
type httpFilter struct {
	model   model.HTTPFilter
	status  *Status
	invalid string   // why it cannot be used
	users   []string // rules that name it
}

// compileHTTPFilters compiles them for the routes that name them.
func (c *compiler) compileHTTPFilters() {
	c.filters = map[string]*httpFilter{}
	for _, o := range c.objs.HTTPFilters {
		f := &httpFilter{status: c.status("HTTPFilter", o.Value, o.Origin)}
		f.model.Name = o.Value.Namespace + "/" + o.Value.Name
		if err := c.httpFilter(f, o.Value); err != nil {
			f.invalid = err.Error()
			f.status.set(conditionAccepted, false, "Invalid", "rules that name it answer 500: %v", err)
			f.status.fail("spec", err.Error()+"; rules that name it answer 500", "correct it")
		} else {
			f.status.set(conditionAccepted, true, "Accepted", "the filter is understood")
		}
		c.filters[f.model.Name] = f
	}
}

// finishHTTPFilters says of each who uses it.
func (c *compiler) finishHTTPFilters() {
	for _, f := range c.filters {
		slices.Sort(f.users)
		f.users = slices.Compact(f.users)
		switch {
		case len(f.users) == 0:
			f.status.set(conditionEnforced, false, "NotUsed", "no route of its namespace names it in an ExtensionRef filter")
		case f.invalid != "":
			f.status.set(conditionEnforced, false, "Invalid", "%s answer 500", strings.Join(f.users, ", "))
		default:
			f.status.set(conditionEnforced, true, "Enforced", "by %s", strings.Join(f.users, ", "))
		}
	}
}

// extension follows an ExtensionRef filter of a rule. One that cannot be followed makes the rule answer 500.
func (r *routeCompiler) extension(rule *model.RouteRule, path string, ref *gatewayv1.LocalObjectReference) {
	f, why := r.namedFilter(path, ref)
	if f == nil {
		rule.Invalid = cmp.Or(rule.Invalid, why)
		return
	}
	if same := slices.IndexFunc(rule.Filters, func(g model.HTTPFilter) bool { return sameStep(g, f.model) }); same >= 0 {
		r.unserved(rule, path, fmt.Sprintf("HTTPFilters %s and %s are of the same kind", rule.Filters[same].Name, f.model.Name), "leave one of them out")
		return
	}
	rule.Filters = append(rule.Filters, f.model)
}

// backendExtension follows an ExtensionRef filter of a backend: changes of headers can be made for a share of requests.
// Anything else, and what cannot be followed, makes the share answer 500.
func (r *routeCompiler) backendExtension(be *model.Backend, path string, ref *gatewayv1.LocalObjectReference) {
	f, why := r.namedFilter(path, ref)
	switch {
	case f == nil:
		be.Invalid = cmp.Or(be.Invalid, why)
	case f.model.Headers == nil:
		r.unservedShare(be, path, "HTTPFilter "+f.model.Name+" is not one of headers, and no other can act on a backend's share", "put it on the rule")
	default:
		be.Filters = append(be.Filters, f.model)
	}
}

// unservedShare notes a backend whose share of requests answers 500.
func (r *routeCompiler) unservedShare(be *model.Backend, path, why, next string) {
	be.Invalid = cmp.Or(be.Invalid, why)
	r.invalid = append(r.invalid, fmt.Sprintf("%s: %s", strings.TrimPrefix(path, "spec."), why))
	r.status.fail(path, why+"; its share of requests answers 500", next)
}

// namedFilter is what an ExtensionRef names; nil and why, if that cannot be used.
func (r *routeCompiler) namedFilter(path string, ref *gatewayv1.LocalObjectReference) (f *httpFilter, why string) {
	broken := func(reason, why, next string) (*httpFilter, string) {
		if r.unresolved[0] == "" {
			r.unresolved = [2]string{reason, why}
		}
		r.status.fail(path, why+"; "+r.outcome(), next)
		return nil, why
	}
	if ref == nil || ref.Group != api.Group || ref.Kind != "HTTPFilter" {
		kind := gatewayv1.LocalObjectReference{}
		if ref != nil {
			kind = *ref
		}
		return broken(string(gatewayv1.RouteReasonInvalidKind), fmt.Sprintf("%s of group %q is no filter that is known here", kind.Kind, kind.Group), "name an HTTPFilter of group "+api.Group)
	}
	name := r.meta.Namespace + "/" + string(ref.Name)
	if f = r.filters[name]; f == nil {
		return broken(reasonFilterNotFound, "there is no HTTPFilter "+name, "make it, or correct the name")
	}
	f.users = append(f.users, r.kind+" "+r.meta.Namespace+"/"+r.meta.Name)
	if f.invalid != "" {
		return broken(reasonFilterInvalid, "HTTPFilter "+name+" cannot be used: "+f.invalid, "see its status")
	}
	return f, ""
}

// sameStep reports whether two filters exclude each other. Changes of headers add up.
func sameStep(a, b model.HTTPFilter) bool {
	return a.Direct != nil && b.Direct != nil || a.Compression != nil && b.Compression != nil || a.GRPCWeb && b.GRPCWeb ||
		a.Transcoding != nil && b.Transcoding != nil || a.PathRewrite != nil && b.PathRewrite != nil || a.BufferBytes > 0 && b.BufferBytes > 0 ||
		len(a.Callers) > 0 && len(b.Callers) > 0
}

// excludes finds what of a rule cannot be together.
func (r *routeCompiler) excludes(rule *model.RouteRule, path string) {
	for _, f := range rule.Filters {
		switch {
		case f.Direct != nil && (len(rule.Backends) > 0 || rule.Redirect != nil):
			r.unserved(rule, path+".filters", "HTTPFilter "+f.Name+" answers by itself, which excludes backends and redirects", "leave backendRefs and redirects out of the rule")
		case f.PathRewrite != nil && rule.Rewrite != nil && (rule.Rewrite.FullPath != nil || rule.Rewrite.PrefixPath != nil):
			r.unserved(rule, path+".filters", "HTTPFilter "+f.Name+" and the URLRewrite filter both change the path", "leave one of them out")
		case f.PathRewrite != nil && rule.Redirect != nil:
			r.unserved(rule, path+".filters", "a redirect and a rewrite exclude each other", "leave one of them out")
		}
	}
}

// answersItself reports whether a rule needs no backends.
func answersItself(rule *model.RouteRule) bool {
	return rule.Redirect != nil || slices.ContainsFunc(rule.Filters, func(f model.HTTPFilter) bool { return f.Direct != nil })
}

func (c *compiler) httpFilter(out *httpFilter, in *api.HTTPFilter) error {
	f, s := &out.model, in.Spec
	switch {
	case s.DirectResponse != nil:
		d := s.DirectResponse
		f.Direct = &model.DirectResponse{Status: d.Status, Body: d.Body, Headers: namedValues(d.Headers)}
		if d.Body != "" {
			f.Direct.Headers = append(f.Direct.Headers, model.Header{Name: "content-type", Value: cmp.Or(d.ContentType, "text/plain")})
		}
	case s.Compression != nil:
		f.Compression = &model.Compression{ContentTypes: s.Compression.ContentTypes, MinLength: cmp.Or(s.Compression.MinLength, 256)}
		for _, a := range s.Compression.Algorithms {
			f.Compression.Algorithms = append(f.Compression.Algorithms, string(a))
		}
		if len(f.Compression.Algorithms) == 0 {
			f.Compression.Algorithms = []string{"zstd", "br", "gzip"}
		}
	case s.GRPCWeb != nil:
		f.GRPCWeb = true
	case s.GRPCTranscoding != nil:
		return c.transcoding(f, in.Namespace, s.GRPCTranscoding)
	case s.Headers != nil:
		return headerFilter(f, s.Headers)
	case s.PathRewrite != nil:
		if _, err := regexp.Compile(s.PathRewrite.Regex); err != nil {
			return fmt.Errorf("pathRewrite.regex is not RE2: %w", err)
		}
		f.PathRewrite = &model.RegexRewrite{Regex: s.PathRewrite.Regex, Replacement: s.PathRewrite.Replacement}
	case s.RequestBuffer != nil:
		f.BufferBytes = s.RequestBuffer.MaxBytes
	case s.Callers != nil:
		if len(s.Callers.From) == 0 {
			return fmt.Errorf("callers.from is empty: write who they are")
		}
		f.Callers = faultCallers(in.Namespace, s.Callers.From)
	default:
		return fmt.Errorf("the filter does nothing")
	}
	return nil
}

func namedValues(list []api.NamedValue) []model.Header {
	var out []model.Header
	for _, h := range list {
		out = append(out, model.Header{Name: h.Name, Value: h.Value})
	}
	return out
}

func headerFilter(f *model.HTTPFilter, in *api.HeaderTransformation) error {
	f.Headers = &model.HeaderFilter{}
	for _, side := range []struct {
		name string
		in   *api.HeaderOperations
		out  *model.HeaderChange
	}{{"request", in.Request, &f.Headers.Request}, {"response", in.Response, &f.Headers.Response}} {
		if side.in == nil {
			continue
		}
		*side.out = model.HeaderChange{Set: namedValues(side.in.Set), Add: namedValues(side.in.Append), Remove: side.in.Remove}
		for _, h := range slices.Concat(side.out.Set, side.out.Add) {
			parts, err := model.ParseTemplate(h.Value)
			if err != nil {
				return fmt.Errorf("headers.%s, %s: %w", side.name, h.Name, err)
			}
			if side.name == "request" && slices.ContainsFunc(parts, func(p model.TemplatePart) bool { return p.Variable == "response.code" }) {
				return fmt.Errorf("headers.request, %s: there is no response yet: leave ${response.code} out", h.Name)
			}
		}
	}
	return nil
}

func (c *compiler) transcoding(f *model.HTTPFilter, namespace string, in *api.GRPCTranscoding) error {
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(in.Descriptors), ""))
	if err != nil {
		return fmt.Errorf("grpcTranscoding.descriptors is not base64: %w", err)
	}
	if in.ConfigMap != nil {
		if data, err = c.configMapBytes(namespace, *in.ConfigMap); err != nil {
			return fmt.Errorf("grpcTranscoding.configMap: %w", err)
		}
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil || len(set.File) == 0 {
		return fmt.Errorf("the descriptors are no FileDescriptorSet: make one with protoc --include_imports --descriptor_set_out")
	}
	known := map[string]bool{}
	for _, file := range set.File {
		for _, s := range file.Service {
			known[strings.TrimPrefix(file.GetPackage()+"."+s.GetName(), ".")] = true
		}
	}
	for _, s := range in.Services {
		if !known[s] {
			return fmt.Errorf("the descriptors have no service %s", s)
		}
	}
	f.Transcoding = &model.Transcoding{
		Descriptors: data, Services: in.Services, AutoMapping: in.AutoMapping, IgnoreUnknownQuery: in.IgnoreUnknownQuery,
		Whitespace: in.Print.Whitespace, AllFields: in.Print.AllFields, EnumsAsNumbers: in.Print.EnumsAsNumbers, ProtoNames: in.Print.ProtoNames,
	}
	return nil
}

// configMapBytes reads an entry of a ConfigMap that has our label.
func (c *compiler) configMapBytes(namespace string, ref api.ConfigMapKey) ([]byte, error) {
	for _, m := range c.objs.ConfigMaps {
		if _, marked := m.Value.Labels[api.LabelFilterData]; !marked || m.Value.Namespace != namespace || m.Value.Name != ref.Name {
			continue
		}
		if data, ok := m.Value.BinaryData[ref.Key]; ok {
			return data, nil
		}
		if text, ok := m.Value.Data[ref.Key]; ok {
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
			if err != nil {
				return nil, fmt.Errorf("entry %s of ConfigMap %s is not base64: %w", ref.Key, ref.Name, err)
			}
			return data, nil
		}
		return nil, fmt.Errorf("ConfigMap %s has no entry %s", ref.Name, ref.Key)
	}
	return nil, fmt.Errorf("there is no ConfigMap %s with the label %s", ref.Name, api.LabelFilterData)
}
