package isolate

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// An object is all entries of a snapshot that came from one Source, by their keys. A route with several
// parents has several.
type object map[string]any

func (o object) equal(other object) bool { return reflect.DeepEqual(o, other) }

// objectsOf sorts a snapshot by source.
func objectsOf(s *model.Snapshot) map[translate.Source]object {
	out := map[translate.Source]object{}
	add := func(src translate.Source, key string, v any) {
		if out[src] == nil {
			out[src] = object{}
		}
		out[src][key] = v
	}
	for k, v := range s.Services {
		add(translate.Source{Kind: "Service", Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	for k, v := range s.Workloads.All() {
		add(translate.Source{Kind: "Workload", Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	for k, v := range s.Routes {
		add(translate.Source{Kind: v.Kind, Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	for k, v := range s.L7Policies {
		add(translate.Source{Kind: "AuthorizationPolicy", Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	for k, v := range s.Faults {
		add(translate.Source{Kind: "Fault", Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	for k, v := range s.Attachments {
		add(translate.Source{Kind: v.Kind, Namespace: v.Namespace, Name: v.Name}, k, v)
	}
	return out
}

// find is one source's object; nil where the snapshot has none.
func find(s *model.Snapshot, src translate.Source) object {
	if s == nil {
		return nil
	}
	out := object{}
	switch src.Kind {
	case "Service":
		for k, v := range s.Services {
			if v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
	case "Workload":
		for k, v := range s.Workloads.All() {
			if v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
	case "AuthorizationPolicy":
		for k, v := range s.L7Policies {
			if v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
	case "Fault":
		for k, v := range s.Faults {
			if v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
	default:
		for k, v := range s.Routes {
			if v.Kind == src.Kind && v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
		for k, v := range s.Attachments {
			if v.Kind == src.Kind && v.Namespace == src.Namespace && v.Name == src.Name {
				out[k] = v
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// goodState is what Envoy last accepted: a snapshot, but for the objects that were held then. The zero
// value is nothing.
type goodState struct {
	snap   *model.Snapshot
	except map[translate.Source]object // older good versions of the held; nil none
}

func (g goodState) of(src translate.Source) object {
	if o, ok := g.except[src]; ok {
		return o
	}
	return find(g.snap, src)
}

func (g goodState) accept(s *model.Snapshot, held map[translate.Source]string) goodState {
	out := goodState{snap: s, except: map[translate.Source]object{}}
	for src := range held {
		out.except[src] = g.of(src)
	}
	return out
}

func (g goodState) without(sources []translate.Source) goodState {
	out := goodState{snap: g.snap, except: maps.Clone(g.except)}
	if out.except == nil {
		out.except = map[translate.Source]object{}
	}
	for _, src := range sources {
		out.except[src] = nil
	}
	return out
}

// with returns a snapshot where the given objects stand in for what the snapshot has of their sources.
// The snapshot itself is not changed.
func with(s *model.Snapshot, objects map[translate.Source]object) *model.Snapshot {
	if len(objects) == 0 {
		return s
	}
	out := *s
	out.Services, out.Workloads = maps.Clone(s.Services), s.Workloads.Clone()
	out.Routes, out.L7Policies, out.Faults = maps.Clone(s.Routes), maps.Clone(s.L7Policies), maps.Clone(s.Faults)
	out.Attachments = maps.Clone(s.Attachments)
	for src, o := range objects {
		for key := range find(s, src) {
			delete(out.Services, key)
			out.Workloads.Delete(key)
			delete(out.Routes, key)
			delete(out.L7Policies, key)
			delete(out.Faults, key)
			delete(out.Attachments, key)
		}
		for key, v := range o {
			switch v := v.(type) {
			case *model.Service:
				out.Services[key] = v
			case *model.Workload:
				out.Workloads.Set(key, v)
			case *model.Route:
				out.Routes[key] = v
			case *model.L7Policy:
				out.L7Policies[key] = v
			case *model.Fault:
				out.Faults[key] = v
			case *model.Attachment:
				out.Attachments[key] = v
			}
		}
	}
	return &out
}

// strings lists the texts of an object that a refusal may quote.
func (o object) strings() []string {
	var out []string
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			out = append(out, v.String())
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(v.MapIndex(k))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		}
	}
	for _, v := range o {
		walk(reflect.ValueOf(v))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
