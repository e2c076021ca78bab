package controller

import (
	"net/netip"

	"github.com/weftmesh/weft/pkg/model"
)

// compileRanges collects what the cluster gives addresses of: the Nodes' blocks, the ServiceCIDRs, and what the
// configuration adds where pods get addresses from somewhere else.
func (c *compiler) compileRanges() {
	for _, o := range c.objs.Nodes {
		blocks := o.Value.Spec.PodCIDRs
		if len(blocks) == 0 && o.Value.Spec.PodCIDR != "" {
			blocks = []string{o.Value.Spec.PodCIDR}
		}
		c.ranges(blocks, false)
	}
	for _, o := range c.objs.ServiceCIDRs {
		c.ranges(o.Value.Spec.CIDRs, true)
	}
	for _, p := range c.cfg.Ranges {
		c.giveRange(p, false)
	}
}

// ranges adds blocks as Kubernetes writes them, and has checked them.
func (c *compiler) ranges(blocks []string, services bool) {
	for _, b := range blocks {
		if p, err := netip.ParsePrefix(b); err == nil {
			c.giveRange(p, services)
		}
	}
}

func (c *compiler) giveRange(p netip.Prefix, services bool) {
	r := &model.Range{Prefix: p.Masked(), Services: services}
	c.snap.Ranges[r.Key()] = r
}
