package controller

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// mostExtensions of one request.
const mostExtensions = 8

// lintUnused finds filters that no route names.
func (c *compiler) lintUnused() {
	for _, o := range c.objs.HTTPFilters {
		if f := c.filters[o.Value.Namespace+"/"+o.Value.Name]; f != nil && len(f.users) == 0 && f.invalid == "" {
			f.status.warn("spec", "no route of its namespace names it, so it does nothing", "name it in a rule's filters: type ExtensionRef, group "+api.Group+", kind HTTPFilter")
		}
	}
}

// lintExtensions finds services whose requests would take more extensions than there are places for: those with the
// highest priority numbers are left out.
func (c *compiler) lintExtensions() {
	written := map[string]source.Object[api.Extension]{}
	for _, o := range c.objs.Extensions {
		written[o.Value.Namespace+"/"+o.Value.Name] = o
	}
	for _, info := range c.served {
		list := c.extensionsOf(info)
		for i := mostExtensions; i < len(list); i++ {
			o, ok := written[list[i].Namespace+"/"+list[i].Name]
			if !ok {
				continue
			}
			c.status("Extension", o.Value, o.Origin).warn("spec.targetRefs",
				fmt.Sprintf("a request to Service %s/%s meets %d extensions, its waypoint's included, and takes %d: %s", info.object.Namespace, info.object.Name, len(list), mostExtensions,
					failing(o.Value.Spec.FailOpen, "it is answered 500", "it passes without this one")),
				"join some of them, or give it a lower priority number than others")
		}
	}
}

// extensionsOf lists those of a service as a whole, and of its waypoint, in the order in which they see requests.
func (c *compiler) extensionsOf(info *serviceInfo) []*model.Attachment {
	w := info.waypoint()
	if w == nil {
		return nil
	}
	var out []*model.Attachment
	for _, t := range []model.Target{{Service: info.model.Key()}, {Waypoint: w.Key()}} {
		for _, a := range c.snap.Attachments {
			same := func(o *model.Attachment) bool { return o.Namespace == a.Namespace && o.Name == a.Name }
			if a.Extension != nil && a.Target == t && !slices.ContainsFunc(out, same) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, func(x, y *model.Attachment) int {
		return cmp.Or(cmp.Compare(x.Extension.Priority, y.Extension.Priority), x.Created.Compare(y.Created), cmp.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name))
	})
	return out
}
