package controller

import (
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// tally counts the pods that a policy binds.
type tally struct {
	all     int
	meshed  int      // in the mesh; waypoints count as neither
	outside []string // namespace/name of those that are not, sorted
}

func tallyOf(pods []*podInfo) *tally {
	t := &tally{all: len(pods)}
	for _, p := range pods {
		switch {
		case p.workload.NativeTunnel:
		case p.workload.Protocol == model.HBONE:
			t.meshed++
		default:
			t.outside = append(t.outside, p.name())
		}
	}
	slices.Sort(t.outside)
	return t
}

// add counts one more, remove one less. Pods of waypoints are none of those.
func (t *tally) add(p *podInfo) {
	t.all++
	if p.workload.Protocol == model.HBONE {
		t.meshed++
	} else if at, there := slices.BinarySearch(t.outside, p.name()); !there {
		t.outside = slices.Insert(t.outside, at, p.name())
	}
}

func (t *tally) remove(p *podInfo) {
	t.all--
	if p.workload.Protocol == model.HBONE {
		t.meshed--
	} else if at, there := slices.BinarySearch(t.outside, p.name()); there {
		t.outside = slices.Delete(t.outside, at, at+1)
	}
}

// figures are what a status says of a tally.
type figures struct {
	all, meshed, outside int
	first                string // of those outside
}

func (t *tally) figures() figures {
	f := figures{all: t.all, meshed: t.meshed, outside: len(t.outside)}
	if len(t.outside) > 0 {
		f.first = t.outside[0]
	}
	return f
}

// counted is a tally that a status is made from.
type counted struct {
	*tally
	again  func() *Status // makes the status anew
	before figures        // of which the status is
	stale  bool           // the tally may have changed since
}

// counting counts the pods that a policy binds, now and when they change.
func (c *compiler) counting(scope model.PolicyScope, namespace string, sel *api.Selector, pods []*podInfo, again func() *Status) *tally {
	n := &counted{tally: tallyOf(pods), again: again}
	n.before = n.figures()
	c.later.counts.add(scope, namespace, labelsOf(sel), n)
	return n.tally
}

func labelsOf(sel *api.Selector) map[string]string {
	if sel == nil {
		return nil
	}
	return sel.MatchLabels
}
