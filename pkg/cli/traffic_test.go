package cli

import (
	"slices"
	"testing"
)

// Pages of two ztunnels and a waypoint: every connection once, by whom it concerns.
func TestGraph(t *testing.T) {
	const zt1 = `# TYPE weft_tcp_connections_opened_total counter
weft_tcp_connections_opened_total{reporter="source",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="b",connection_security_policy="mutual_tls",response_flags="-"} 2
weft_tcp_connections_opened_total{reporter="source",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="wp",connection_security_policy="mutual_tls",response_flags="-"} 1
# TYPE weft_tcp_sent_bytes_total counter
weft_tcp_sent_bytes_total{reporter="source",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="b",connection_security_policy="mutual_tls",response_flags="-"} 100
`
	const zt2 = `# TYPE weft_tcp_connections_opened_total counter
weft_tcp_connections_opened_total{reporter="destination",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="b",connection_security_policy="mutual_tls",response_flags="-"} 2
weft_tcp_connections_opened_total{reporter="destination",source_workload_namespace="shop",source_workload="wp",destination_workload_namespace="shop",destination_workload="c",connection_security_policy="mutual_tls",response_flags="-"} 1
weft_tcp_connections_opened_total{reporter="destination",source_workload_namespace="out",source_workload="x",destination_workload_namespace="shop",destination_workload="c",connection_security_policy="none",response_flags="UAEX"} 3
weft_tcp_connections_opened_total{reporter="destination",source_workload_namespace="shop",source_workload="dead",destination_workload_namespace="shop",destination_workload="c",connection_security_policy="mutual_tls",response_flags="-"} 4
# TYPE weft_dns_queries_total counter
weft_dns_queries_total 9
`
	const waypoint = `# TYPE weft_requests_total counter
weft_requests_total{reporter="waypoint",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="c",connection_security_policy="mutual_tls",response_flags="-",response_code="200"} 7
weft_requests_total{reporter="waypoint",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="unknown",destination_workload="unknown",destination_service_namespace="shop",destination_service_name="c-svc",connection_security_policy="mutual_tls",response_flags="FI",response_code="503"} 5
# TYPE weft_tcp_connections_opened_total counter
weft_tcp_connections_opened_total{reporter="waypoint",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="unknown",destination_workload="unknown",connection_security_policy="mutual_tls",response_flags="-"} 3
# TYPE weft_tcp_connections_closed_total counter
weft_tcp_connections_closed_total{reporter="waypoint",source_workload_namespace="shop",source_workload="a",destination_workload_namespace="shop",destination_workload="d",connection_security_policy="mutual_tls",response_flags="UAEX"} 3
`
	g := graph{}
	for page, via := range map[string]string{zt1: "", zt2: "", waypoint: "shop/wp"} {
		if err := g.add([]byte(page), via); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range g.edges() {
		if !e.idle() {
			c := e.cells()
			got = append(got, e.Source+" "+e.Destination+": "+c[0]+" "+c[1]+"/"+c[2]+" "+c[3]+" "+c[4])
		}
	}
	want := []string{
		"out/x shop/c: refused by policy 3/ 0 B ",
		"shop/a shop/b: ok 2/ 100 B ",
		"shop/a shop/c: ok 0/7 0 B shop/wp",
		"shop/a shop/c-svc: 503, fault injected 0/5 0 B shop/wp",
		"shop/a shop/d: refused by policy 3/ 0 B shop/wp",
		"shop/a shop/wp: ok 1/ 0 B ",
		"shop/dead shop/c: ok 4/ 0 B ",
		"shop/wp shop/c: ok 1/ 0 B ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if err := g.add([]byte("no metrics at all"), ""); err == nil {
		t.Error("a page that is none is taken")
	}
}
