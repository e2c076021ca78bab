package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/pkg/model"
)

// mesh is a fake of the index: a few services in maps.
type mesh struct {
	services  map[string]*model.Service
	endpoints map[string][]*model.Workload
	unsynced  bool
}

func (m *mesh) Synced() bool                                  { return !m.unsynced }
func (m *mesh) ServiceByHostname(h string) *model.Service     { return m.services[h] }
func (m *mesh) Endpoints(serviceKey string) []*model.Workload { return m.endpoints[serviceKey] }

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, x := range s {
		out = append(out, netip.MustParseAddr(x))
	}
	return out
}

func shop() *mesh {
	m := &mesh{services: map[string]*model.Service{}, endpoints: map[string][]*model.Workload{}}
	add := func(s *model.Service, pods ...*model.Workload) {
		s.Hostname = model.ServiceHostname(s.Name, s.Namespace, "cluster.local")
		m.services[s.Hostname] = s
		for _, w := range pods {
			w.Services = map[string][]model.Port{s.Key(): {{ServicePort: 80, TargetPort: 8080}}}
		}
		m.endpoints[s.Key()] = pods
	}
	add(&model.Service{Name: "cart", Namespace: "shop", Addresses: addrs("10.96.0.5", "fd00:96::5"), Ports: []model.Port{{ServicePort: 80, Name: "http"}, {ServicePort: 9000, Name: "grpc"}}})
	add(&model.Service{Name: "v4", Namespace: "other", Addresses: addrs("10.96.0.6"), Ports: []model.Port{{ServicePort: 80}}})
	add(&model.Service{Name: "db", Namespace: "shop", Ports: []model.Port{{ServicePort: 80, Name: "sql"}}},
		&model.Workload{Name: "db-0", Hostname: "db-0", Addresses: addrs("10.244.1.7", "fd00:244:1::7")},
		&model.Workload{Name: "db-1", Addresses: addrs("10.244.2.8")},
		&model.Workload{Name: "db-2", Hostname: "db-2", Addresses: addrs("10.244.2.9"), Unhealthy: true})
	return m
}

// ask returns the answer in one line: rcode, then its records' data in order of name, "forward" for nil.
func ask(z *Zone, name, typ string) string {
	m := z.Answer(new(dns.Msg).SetQuestion(name, dns.StringToType[typ]), "shop")
	if m == nil {
		return "forward"
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().String())), " "))
	}
	slices.Sort(out)
	if m.Rcode == dns.RcodeSuccess && len(out) == 0 {
		return "NODATA"
	}
	if len(out) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	return strings.Join(out, ", ")
}

func TestZone(t *testing.T) {
	z := &Zone{Names: shop(), ClusterDomain: "cluster.local"}
	for _, c := range []struct{ name, typ, want string }{
		{"cart.", "A", "10.96.0.5"},
		{"cart.shop.", "A", "10.96.0.5"},
		{"CART.Shop.svc.", "A", "10.96.0.5"},
		{"cart.shop.svc.cluster.local.", "A", "10.96.0.5"},
		{"cart.shop.svc.cluster.local.", "AAAA", "fd00:96::5"},
		{"v4.", "A", "forward"}, // of another namespace
		{"v4.other.", "A", "10.96.0.6"},
		{"v4.other.svc.cluster.local.", "AAAA", "NODATA"},
		{"cart.shop.svc.cluster.local.", "TXT", "NODATA"},
		{"_http._tcp.cart.shop.svc.cluster.local.", "SRV", "0 100 80 cart.shop.svc.cluster.local."},
		{"_grpc._tcp.cart.", "SRV", "0 100 9000 cart.shop.svc.cluster.local."},
		{"_http._udp.cart.shop.svc.cluster.local.", "SRV", "NODATA"},
		{"_none._tcp.cart.shop.svc.cluster.local.", "SRV", "NODATA"},
		{"_http._tcp.v4.other.svc.cluster.local.", "SRV", "forward"}, // its port's name is not known
		{"_http._tcp.cart.shop.svc.cluster.local.", "A", "NODATA"},
		{"db.shop.svc.cluster.local.", "A", "10.244.1.7, 10.244.2.8"},
		{"db.", "AAAA", "fd00:244:1::7"},
		{"db-0.db.shop.svc.cluster.local.", "A", "10.244.1.7"},
		{"10-244-2-8.db.shop.svc.cluster.local.", "A", "10.244.2.8"},
		{"db-2.db.shop.svc.cluster.local.", "A", "10.244.2.9"},
		{"_sql._tcp.db.shop.svc.cluster.local.", "SRV", "0 100 8080 10-244-2-8.db.shop.svc.cluster.local., 0 100 8080 db-0.db.shop.svc.cluster.local."},
		{"nobody.shop.svc.cluster.local.", "A", "forward"},
		{"example.com.", "A", "forward"},
		{"example.com.shop.svc.cluster.local.", "A", "forward"},
		{".", "NS", "forward"},
	} {
		t.Run(c.name+c.typ, func(t *testing.T) {
			if got := ask(z, c.name, c.typ); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAuthoritativeZone(t *testing.T) {
	z := &Zone{Names: shop(), ClusterDomain: "cluster.local", Authoritative: true}
	for name, want := range map[string]string{
		"nobody.shop.svc.cluster.local.":      "NXDOMAIN",
		"example.com.shop.svc.cluster.local.": "NXDOMAIN",
		"example.com.cluster.local.":          "forward", // others have names there
		"example.com.":                        "forward",
		"evilsvc.cluster.local.":              "forward",
	} {
		if got := ask(z, name, "A"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	m := z.Answer(new(dns.Msg).SetQuestion("nobody.shop.svc.cluster.local.", dns.TypeA), "shop")
	if len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA {
		t.Error("NXDOMAIN without SOA cannot be cached")
	}
}

func TestNothingIsAnsweredBeforeSync(t *testing.T) {
	m := shop()
	m.unsynced = true
	if got := ask(&Zone{Names: m, ClusterDomain: "cluster.local", Authoritative: true}, "cart.", "A"); got != "forward" {
		t.Error(got)
	}
}

func TestLongAnswersAreTruncated(t *testing.T) {
	m := shop()
	var many []*model.Workload
	for i := range 200 {
		many = append(many, &model.Workload{Addresses: addrs(fmt.Sprintf("10.1.0.%d", i))})
	}
	m.endpoints["shop/db.shop.svc.cluster.local"] = many
	z := &Zone{Names: m, ClusterDomain: "cluster.local"}
	for _, c := range []struct {
		edns uint16
		max  int
	}{{0, 512}, {1232, 1232}, {65000, 1232}, {100, 512}} {
		q := new(dns.Msg).SetQuestion("db.shop.svc.cluster.local.", dns.TypeA)
		if c.edns > 0 {
			q.SetEdns0(c.edns, false)
		}
		r := z.Answer(q, "shop")
		fit(q, r)
		b, err := r.Pack()
		if err != nil || !r.Truncated || len(b) > c.max || (r.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("edns %d: %d bytes, truncated %v, err %v", c.edns, len(b), r.Truncated, err)
		}
	}
}

func TestUnknownEDNSVersion(t *testing.T) {
	z := &Zone{Names: shop(), ClusterDomain: "cluster.local"}
	q := new(dns.Msg).SetQuestion("cart.", dns.TypeA).SetEdns0(1232, false)
	q.IsEdns0().SetVersion(1)
	r := z.Answer(q, "shop")
	fit(q, r)
	if r.Rcode != dns.RcodeBadVers || len(r.Answer) > 0 {
		t.Errorf("%v", r)
	}
	if _, err := r.Pack(); err != nil {
		t.Error(err)
	}
}
