package index

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// ranks says by the book who is found under a key: of its present holders those that are not lesser, of
// these the one that has held it for the fewest steps. It knows all holders and since when.
type ranks map[string]map[string]holding

type holding struct {
	since  int
	lesser bool
}

// set notes that at this step who holds these keys and no others.
func (r ranks) set(step int, who string, lesser bool, keys []string) {
	for k, holders := range r {
		if !slices.Contains(keys, k) {
			delete(holders, who)
		}
	}
	for _, k := range keys {
		if r[k] == nil {
			r[k] = map[string]holding{}
		}
		if h, ok := r[k][who]; !ok || h.lesser != lesser {
			r[k][who] = holding{step, lesser}
		}
	}
}

func (r ranks) find(k string) (best string) {
	var top holding
	for who, h := range r[k] {
		if best == "" || top.lesser && !h.lesser || top.lesser == h.lesser && h.since > top.since {
			best, top = who, h
		}
	}
	return best
}

// mesh feeds the index and, beside it, keeps what a naive one is rebuilt from.
type mesh struct {
	*rand.Rand
	x                  *Index
	now                *model.Snapshot
	addrs, vips, names ranks
}

func (m *mesh) addr() netip.Addr {
	a := netip.AddrFrom4([4]byte{10, 0, 0, byte(m.IntN(6))})
	if m.IntN(4) == 0 {
		return netip.AddrFrom16(a.As16()) // mapped
	}
	return a
}

func (m *mesh) addrList() (out []netip.Addr, keys []string) {
	for range m.IntN(4) {
		a := m.addr()
		out, keys = append(out, a), append(keys, a.Unmap().WithZone("").String())
	}
	return out, keys
}

var (
	rSpaces = []string{"shop", "pay"}
	rHosts  = []string{"cart.shop.svc", "Cart.shop.svc", "pay.pay.svc", "cart.shop.svc."}
)

func (m *mesh) space() string   { return rSpaces[m.IntN(len(rSpaces))] }
func (m *mesh) uid() string     { return fmt.Sprint("u", m.IntN(8)) }
func (m *mesh) service() string { return m.space() + "/" + rHosts[m.IntN(len(rHosts))] }
func (m *mesh) policy() string  { return fmt.Sprint(m.space(), "/p", m.IntN(4)) }

func folded(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// change does one random thing, and returns what is wrong with how it was taken.
func (m *mesh) change(step int) (wrong string) {
	grown := m.x.Generation()
	known, told := true, true
	switch m.IntN(8) {
	case 0:
		uid := m.uid()
		known, told = m.now.Workloads.Get(uid) != nil, m.x.RemoveAddress(uid)
		m.now.Workloads.Delete(uid)
		m.addrs.set(step, uid, false, nil)
	case 1:
		key := m.service()
		known, told = m.now.Services[key] != nil, m.x.RemoveAddress(key)
		delete(m.now.Services, key)
		m.vips.set(step, key, false, nil)
		m.names.set(step, key, false, nil)
	case 2:
		key := m.policy()
		known, told = m.now.Policies[key] != nil, m.x.RemovePolicy(key)
		delete(m.now.Policies, key)
	case 3:
		ns, name, _ := strings.Cut(m.policy(), "/")
		p := &model.Policy{Namespace: ns, Name: name, Scope: model.PolicyScope(m.IntN(3))}
		m.now.Policies[p.Key()] = p
		m.x.UpsertPolicy(p)
	case 4, 5:
		ns, host, _ := strings.Cut(m.service(), "/")
		s := &model.Service{Namespace: ns, Hostname: host, Canonical: m.IntN(2) == 0}
		var keys []string
		s.Addresses, keys = m.addrList()
		m.now.Services[s.Key()] = s
		m.vips.set(step, s.Key(), !s.Canonical, keys)
		m.names.set(step, s.Key(), !s.Canonical, []string{folded(host)})
		m.x.UpsertService(s)
	default:
		w := workload(m.uid())
		w.Namespace, w.HostNetwork = m.space(), m.IntN(3) == 0
		var keys []string
		w.Addresses, keys = m.addrList()
		for range m.IntN(3) {
			of(w, m.service())
			w.Policies = append(w.Policies, m.policy())
		}
		m.now.Workloads.Set(w.UID, w)
		m.addrs.set(step, w.UID, w.HostNetwork, keys)
		m.x.UpsertWorkload(w)
	}
	if known != told {
		return fmt.Sprintf("a removal reports %v, known was %v", told, known)
	}
	if grew := m.x.Generation() > grown; grew != known {
		return fmt.Sprintf("generation grew: %v, something changed: %v", grew, known)
	}
	return ""
}

// differs compares every lookup with the book, and with an index that is rebuilt from scratch.
func (m *mesh) differs() string {
	fresh := FromSnapshot(m.now)
	if m.x.Counts() != fresh.Counts() || !slices.Equal(m.x.Workloads(), fresh.Workloads()) ||
		!slices.Equal(m.x.Services(), fresh.Services()) || !slices.Equal(m.x.Policies(), fresh.Policies()) {
		return fmt.Sprintf("values: %+v, rebuilt %+v", m.x.Counts(), fresh.Counts())
	}
	for i := range 6 {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		for _, a := range []netip.Addr{a, netip.AddrFrom16(a.As16())} {
			k := a.Unmap().WithZone("").String()
			if got, want := m.x.ByAddress(a), m.now.Workloads.Get(m.addrs.find(k)); got != want {
				return fmt.Sprintf("%v is %+v, want %+v of %v", a, got, want, m.addrs[k])
			}
			if got, want := m.x.ServiceByVIP(a), m.now.Services[m.vips.find(k)]; got != want {
				return fmt.Sprintf("VIP %v is %+v, want %+v of %v", a, got, want, m.vips[k])
			}
		}
	}
	for _, h := range rHosts {
		if got, want := m.x.ServiceByHostname(h), m.now.Services[m.names.find(folded(h))]; got != want {
			return fmt.Sprintf("%s is %+v, want %+v of %v", h, got, want, m.names[folded(h)])
		}
		for _, ns := range rSpaces {
			if wrong := m.serviceDiffers(ns + "/" + h); wrong != "" {
				return wrong
			}
		}
	}
	for uid, w := range m.now.Workloads.All() {
		if m.x.ByUID(uid) != w {
			return "workload " + uid
		}
		if wrong := m.policiesDiffer(w); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (m *mesh) serviceDiffers(key string) string {
	if m.x.ServiceByKey(key) != m.now.Services[key] {
		return "service " + key
	}
	got, want := map[*model.Workload]bool{}, map[*model.Workload]bool{}
	eps := m.x.Endpoints(key)
	for _, w := range eps {
		got[w] = true
	}
	for _, w := range m.now.Workloads.All() {
		if _, ok := w.Services[key]; ok {
			want[w] = true
		}
	}
	if !maps.Equal(got, want) || len(eps) != len(want) {
		return fmt.Sprintf("%d endpoints of %s, want %d", len(eps), key, len(want))
	}
	return ""
}

func (m *mesh) policiesDiffer(w *model.Workload) string {
	var want, lacking []string
	for key, p := range m.now.Policies {
		if p.Scope == model.ScopeMesh || p.Scope == model.ScopeNamespace && p.Namespace == w.Namespace || slices.Contains(w.Policies, key) {
			want = append(want, key)
		}
	}
	for _, key := range w.Policies {
		if m.now.Policies[key] == nil && !slices.Contains(lacking, key) {
			lacking = append(lacking, key)
		}
	}
	slices.Sort(want)
	list, missing := m.x.PoliciesFor(w)
	var got []string
	for _, p := range list {
		if m.now.Policies[p.Key()] != p {
			return "stale policy " + p.Key()
		}
		got = append(got, p.Key())
	}
	if !slices.Equal(got, want) || !slices.Equal(missing, lacking) {
		return fmt.Sprintf("policies of %+v: %v missing %v, want %v missing %v", w, got, missing, want, lacking)
	}
	return ""
}

// Whatever comes and goes in whatever order, the index is the one that is rebuilt from what is left, and
// what it once handed out stays as it was.
func TestAgainstRebuilding(t *testing.T) {
	const seed = uint64(7)
	for run := range uint64(20) {
		m := &mesh{Rand: rand.New(rand.NewPCG(seed, run)), x: New(), now: model.NewSnapshot(), addrs: ranks{}, vips: ranks{}, names: ranks{}}
		for step := range 300 {
			key := m.service()
			held := m.x.Endpoints(key)
			before := slices.Clone(held)
			if wrong := m.change(step); wrong != "" {
				t.Fatalf("seed %d, run %d, step %d: %s", seed, run, step, wrong)
			}
			if wrong := m.differs(); wrong != "" {
				t.Fatalf("seed %d, run %d, step %d: %s", seed, run, step, wrong)
			}
			if !slices.Equal(held, before) {
				t.Fatalf("seed %d, run %d, step %d: endpoints of %s that were handed out have changed", seed, run, step, key)
			}
		}
		m.empty(t)
	}
}

// empty removes all that is left, after which nothing may be.
func (m *mesh) empty(t *testing.T) {
	t.Helper()
	for uid := range m.now.Workloads.All() {
		m.x.RemoveWorkload(uid)
	}
	for key := range m.now.Services {
		m.x.RemoveService(key)
	}
	for key := range m.now.Policies {
		m.x.RemovePolicy(key)
	}
	x := m.x
	left := len(x.addresses.first) + len(x.addresses.rest) + len(x.vips.first) + len(x.vips.rest) +
		len(x.hostnames.first) + len(x.hostnames.rest) + len(x.members) + len(x.wide)
	if left != 0 || x.Counts() != (Counts{}) {
		t.Fatalf("%d entries left behind", left)
	}
}
