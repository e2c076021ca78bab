package translate_test

import (
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Requests and connections may last as long as their two ends want: none of Envoy's timers (15 s a request, 5 min
// a silent stream, 1 h a silent connection) cuts off what nobody asked to.
func TestNoTimersOfItsOwn(t *testing.T) {
	res, _ := translateFile(t, "testdata/everything.yaml")
	off := func(what string, d *durationpb.Duration) {
		if d == nil || d.AsDuration() != 0 {
			t.Errorf("%s: %v, want 0", what, d)
		}
	}
	for _, l := range res.Listeners {
		for _, chain := range l.FilterChains {
			for _, f := range chain.Filters {
				hcm, tcp := &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}
				switch {
				case f.GetTypedConfig().MessageIs(hcm):
					if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
						t.Fatal(err)
					}
					off(l.Name+": silent stream", hcm.StreamIdleTimeout)
					if hcm.RequestTimeout.AsDuration() != 0 || hcm.RequestHeadersTimeout.AsDuration() != 0 || hcm.CommonHttpProtocolOptions.GetMaxStreamDuration().AsDuration() != 0 {
						t.Errorf("%s ends requests by itself", l.Name)
					}
				case f.GetTypedConfig().MessageIs(tcp):
					if err := f.GetTypedConfig().UnmarshalTo(tcp); err != nil {
						t.Fatal(err)
					}
					off(l.Name+": silent connection", tcp.IdleTimeout)
				}
			}
		}
	}
	for _, rc := range res.Routes {
		for _, vh := range rc.VirtualHosts {
			for _, r := range vh.Routes {
				if a := r.GetRoute(); a != nil && a.Timeout == nil {
					t.Errorf("route %s has Envoy's timeout of 15 s", r.Name)
				}
			}
		}
	}
}
