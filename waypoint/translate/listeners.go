package translate

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	netstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Names of the listeners; all but hbone are also the names of the clusters in front of them.
const (
	listenHBONE  = "hbone"
	listenHTTP   = "http"
	listenAuto   = "auto"
	listenTLS    = "tls"
	listenSNI    = "sni"
	listenTunnel = "tunnel"
)

// sniffTimeout is how long a client of an unknown port may stay silent before it is taken for one that
// waits for the server to speak first.
const sniffTimeout = 200 * time.Millisecond

func (b *builder) listeners() []*listenerv3.Listener {
	return []*listenerv3.Listener{b.autoListener(), b.hboneListener(), b.httpListener(), b.sniListener(), b.tlsListener(), b.tunnelListener()}
}

func (b *builder) hboneListener() *listenerv3.Listener {
	l := &listenerv3.Listener{
		Name:    listenHBONE,
		Address: b.bind(0),
		// One worker serves a whole HBONE connection with all its streams, so connections are dealt evenly.
		ConnectionBalanceConfig: &listenerv3.Listener_ConnectionBalanceConfig{
			BalanceType: &listenerv3.Listener_ConnectionBalanceConfig_ExactBalance_{
				ExactBalance: &listenerv3.Listener_ConnectionBalanceConfig_ExactBalance{},
			},
		},
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: b.serverTLS(),
			Filters:         []*listenerv3.Filter{networkFilter("hcm", b.hboneManager())},
		}},
	}
	for i := 1; i < len(b.cfg.Listen); i++ {
		l.AdditionalAddresses = append(l.AdditionalAddresses, &listenerv3.AdditionalAddress{Address: b.bind(i)})
	}
	return l
}

func (b *builder) bind(i int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       b.cfg.Listen[i].String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(b.cfg.Port)},
	}}}
}

func (b *builder) httpListener() *listenerv3.Listener {
	l := internalListener(listenHTTP)
	l.ListenerFilters = []*listenerv3.ListenerFilter{originalDst()}
	l.FilterChains = []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{networkFilter("hcm", b.httpManager())},
	}}
	return l
}

// autoListener hands sniffed HTTP to the same connection manager as http; anything else goes to the
// cluster that autoClusters made for the address it was sent to.
func (b *builder) autoListener() *listenerv3.Listener {
	l := internalListener(listenAuto)
	l.ListenerFilters = []*listenerv3.ListenerFilter{originalDst(), {
		Name:       "http_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&httpinspectorv3.HttpInspector{})},
	}}
	l.ListenerFiltersTimeout = seconds(sniffTimeout)
	l.ContinueOnListenerFiltersTimeout = true
	l.FilterChains = []*listenerv3.FilterChain{
		{
			FilterChainMatch: &listenerv3.FilterChainMatch{ApplicationProtocols: []string{"http/1.0", "http/1.1", "h2c"}},
			Filters:          []*listenerv3.Filter{networkFilter("hcm", b.httpManager())},
		},
		{Filters: []*listenerv3.Filter{
			networkFilter("cluster", &netstatev3.Config{OnNewConnection: []*statev3.FilterStateValue{
				stateValue("envoy.tcp_proxy.cluster", "", autoPrefix+"%FILTER_STATE("+stateDst+":PLAIN)%"),
			}}),
			networkFilter("tcp", &tcpproxyv3.TcpProxy{
				StatPrefix:       listenAuto,
				IdleTimeout:      seconds(0),
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "none"},
			}),
		}},
	}
	return l
}

// tunnelListener wraps a connection to a pod into CONNECT over mutual TLS. Where to and which identity to
// expect is in the endpoint's metadata. An endpoint for any port of a pod leaves the authority to what the
// client asked for.
func (b *builder) tunnelListener() *listenerv3.Listener {
	l := internalListener(listenTunnel)
	authority := stateValue(stateAuthority, "envoy.string", "%DYNAMIC_METADATA("+metaNS+":"+metaAuthority+")%")
	via := stateValue("envoy.tcp_proxy.cluster", "", "%DYNAMIC_METADATA("+metaNS+":"+metaVia+")%")
	for _, v := range []*statev3.FilterStateValue{authority, via} {
		v.SkipIfEmpty = true
		v.GetFormatString().OmitEmptyValues = true
	}
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
		networkFilter("expect", &netstatev3.Config{OnNewConnection: []*statev3.FilterStateValue{
			stateValue("envoy.network.upstream_subject_alt_names", "", "%DYNAMIC_METADATA("+metaNS+":"+metaSAN+")%"),
			stateValue(stateAuthority, "envoy.string", "%FILTER_STATE("+stateDst+":PLAIN)%"),
			authority,
			via,
		}}),
		networkFilter("tcp", &tcpproxyv3.TcpProxy{
			StatPrefix:       listenTunnel,
			IdleTimeout:      seconds(0),
			ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: listenTunnel},
			TunnelingConfig: &tcpproxyv3.TcpProxy_TunnelingConfig{
				Hostname:     "%FILTER_STATE(" + stateAuthority + ":PLAIN)%",
				HeadersToAdd: []*corev3.HeaderValueOption{setHeader(headerTrace, "%FILTER_STATE("+stateRequest+":PLAIN)%")},
			},
		}),
	}}}
	return l
}

func internalListener(name string) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name,
		ListenerSpecifier: &listenerv3.Listener_InternalListener{
			InternalListener: &listenerv3.Listener_InternalListenerConfig{},
		},
	}
}

// originalDst gives an internal connection the addresses that hbone put into its filter state.
func originalDst() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "original_dst",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&originaldstv3.OriginalDst{})},
	}
}

func networkFilter(name string, m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)}}
}

// stateValue sets a filter state object from a format string. The factory defaults to the one of the key.
func stateValue(key, factory, value string) *statev3.FilterStateValue {
	return &statev3.FilterStateValue{
		Key:        &statev3.FilterStateValue_ObjectKey{ObjectKey: key},
		FactoryKey: factory,
		Value:      &statev3.FilterStateValue_FormatString{FormatString: format(value)},
	}
}

func boolValue(v bool) *wrapperspb.BoolValue { return wrapperspb.Bool(v) }
