package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

const clusterYAML = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: each, namespace: shop}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
status:
  podIPs: [{ip: 10.244.1.5}, {ip: "fd00:244:1::5"}]
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
status:
  podIPs: [{ip: 10.244.2.6}, {ip: "fd00:244:2::6"}]
  conditions: [{type: Ready, status: "False"}]
`

// cluster reads the objects above, sorted by name, and gives the services their addresses.
func cluster(t *testing.T) objects {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(clusterYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := look(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := newVIPs()
	for i, s := range o.Services {
		if o.Services[i], err = v.assign(s); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

const web = 2 // among the services

func TestForwardsLeadToReadyPods(t *testing.T) {
	o := cluster(t)
	all := forwards(o.Services, o.Pods)
	if len(all) != 2 {
		t.Fatalf("%d virtual addresses, want one of each family: %v", len(all), all)
	}
	if got := fmt.Sprint(all[0].endpoints, all[1].endpoints); got != "[10.244.1.5:8080] [[fd00:244:1::5]:8080]" {
		t.Errorf("endpoints %s: want the ready pod's named port", got)
	}
	o.Services[web].Spec.PublishNotReadyAddresses = true
	if got := forwards(o.Services, o.Pods)[0].endpoints; len(got) != 2 {
		t.Errorf("publishNotReadyAddresses: endpoints %v, want both pods", got)
	}
}

func TestVIPsAreStableAndUnique(t *testing.T) {
	v, w := newVIPs(), newVIPs()
	seen := map[netip.Addr]bool{}
	for i := range 2000 {
		key := fmt.Sprintf("ns/svc-%d", i)
		p, err := v.pair(key)
		if err != nil {
			t.Fatal(err)
		}
		if seen[p[0]] || p[0] == DNSAddress || !serviceCIDR4.Contains(p[0]) || !serviceCIDR6.Contains(p[1]) {
			t.Fatalf("address %v of %s is taken or out of range", p, key)
		}
		seen[p[0]] = true
		if again, _ := v.pair(key); again != p {
			t.Fatalf("%s got %v and then %v", key, p, again)
		}
	}
	one, _ := v.pair("ns/svc-0")
	if other, _ := w.pair("ns/svc-0"); other != one {
		t.Errorf("another lab gives %v instead of %v", other, one)
	}
	v.forget(map[string]bool{})
	if len(v.given) != 0 || len(v.taken) != 1 {
		t.Errorf("forget kept %d addresses", len(v.given))
	}
}

func TestZoneAnswers(t *testing.T) {
	o := cluster(t)
	z := newZone(o.Services, o.Pods).withController()
	vip := o.Services[web].Spec.ClusterIP
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string // records, or the code
	}{
		{"web.shop.svc.cluster.local.", dns.TypeA, vip},
		{"WEB.Shop.svc.cluster.local.", dns.TypeA, vip},
		{"web.shop.svc.cluster.local.", dns.TypeMX, ""},
		{"each.shop.svc.cluster.local.", dns.TypeA, "10.244.1.5"},
		{"each.shop.svc.cluster.local.", dns.TypeAAAA, "fd00:244:1::5"},
		{"web-1.each.shop.svc.cluster.local.", dns.TypeA, "10.244.1.5"},
		{"_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV, "80 web.shop.svc.cluster.local."},
		{"_http._tcp.each.shop.svc.cluster.local.", dns.TypeSRV, "8080 web-1.each.shop.svc.cluster.local."},
		{"away.shop.svc.cluster.local.", dns.TypeA, "example.org."},
		{"weft-controller.weft-system.svc.cluster.local.", dns.TypeA, "172.30.254.1"},
		{"nobody.shop.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
		{"example.org.", dns.TypeA, "NXDOMAIN"},
	} {
		q := new(dns.Msg).SetQuestion(c.name, c.qtype)
		if got := records(z.answer(q)); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, dns.TypeToString[c.qtype], got, c.want)
		}
	}
}

func records(m *dns.Msg) string {
	if m.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[m.Rcode]
	}
	var out []string
	for _, rr := range m.Answer {
		switch r := rr.(type) {
		case *dns.A:
			out = append(out, r.A.String())
		case *dns.AAAA:
			out = append(out, r.AAAA.String())
		case *dns.SRV:
			out = append(out, fmt.Sprintf("%d %s", r.Port, r.Target))
		case *dns.CNAME:
			out = append(out, r.Target)
		}
	}
	return strings.Join(out, " ")
}

func TestCapturedByLabels(t *testing.T) {
	ns := func(mode string) []*corev1.Namespace {
		n := &corev1.Namespace{}
		n.Name = "shop"
		if mode != "" {
			n.Labels = map[string]string{"weft.dev/dataplane-mode": mode}
		}
		return []*corev1.Namespace{n}
	}
	pod := func(edit func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{}
		p.Namespace, p.Labels = "shop", map[string]string{}
		if edit != nil {
			edit(p)
		}
		return p
	}
	label := func(k, v string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Labels[k] = v } }
	for _, c := range []struct {
		why  string
		pod  *corev1.Pod
		mode string
		want bool
	}{
		{"plain namespace", pod(nil), "", false},
		{"ambient namespace", pod(nil), "ambient", true},
		{"the pod's none wins", pod(label("weft.dev/dataplane-mode", "none")), "ambient", false},
		{"the pod's ambient wins", pod(label("weft.dev/dataplane-mode", "ambient")), "none", true},
		{"host network", pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), "ambient", false},
		{"waypoint", pod(label("gateway.networking.k8s.io/gateway-name", "wp")), "ambient", false},
	} {
		if got := captured(c.pod, ns(c.mode)); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}
