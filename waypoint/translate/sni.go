package translate

import (
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// TLSRoutes are served by two listeners more. tls reads the server name from the client's first bytes, without
// ending the TLS, and asks sni by CONNECT for name.address:port. There the names of all TLSRoutes are the domains
// of one more table: weights, wildcards and callers are matters of routes, and no listener changes.

// helloTimeout bounds how long a client may take to begin its handshake; it is the one who speaks first.
const helloTimeout = 10 * time.Second

// HelloLinger is how long after its last TLSRoute a target is to be named in Config.Lately.
const HelloLinger = helloTimeout + 5*time.Second

func (b *builder) tlsListener() *listenerv3.Listener {
	l := internalListener(listenTLS)
	l.ListenerFilters = []*listenerv3.ListenerFilter{originalDst(), {
		Name:       "tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&tlsinspectorv3.TlsInspector{})},
	}}
	l.ListenerFiltersTimeout = seconds(helloTimeout)
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
		networkFilter("flow", &netstatev3.Config{OnNewConnection: []*statev3.FilterStateValue{
			shared(statePeer, "envoy.hashable_string", "%FILTER_STATE("+statePeer+":PLAIN)%"),
			shared("envoy.filters.listener.original_dst.local_ip", "", "%FILTER_STATE("+stateDst+":PLAIN)%"),
			shared("envoy.filters.listener.original_dst.remote_ip", "", "%DOWNSTREAM_REMOTE_ADDRESS%"),
		}}),
		networkFilter("tcp", &tcpproxyv3.TcpProxy{
			StatPrefix:       listenTLS,
			IdleTimeout:      seconds(0),
			ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: listenSNI},
			TunnelingConfig:  &tcpproxyv3.TcpProxy_TunnelingConfig{Hostname: "%REQUESTED_SERVER_NAME%.%FILTER_STATE(" + stateDst + ":PLAIN)%"},
		}),
	}}}
	return l
}

func (b *builder) sniListener() *listenerv3.Listener {
	l := internalListener(listenSNI)
	l.ListenerFilters = []*listenerv3.ListenerFilter{originalDst()}
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{networkFilter("hcm", &hcmv3.HttpConnectionManager{
		StatPrefix:        listenSNI,
		CodecType:         hcmv3.HttpConnectionManager_HTTP1,
		UseRemoteAddress:  yes(),
		UpgradeConfigs:    []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "CONNECT"}},
		StreamIdleTimeout: seconds(0),
		HttpFilters: []*hcmv3.HttpFilter{
			httpFilterOff(filterDeny, &rbacv3.RBAC{}),
			httpFilterOff(filterAllow, &rbacv3.RBAC{}),
			routerFilter(),
		},
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: sniTableName, ConfigSource: ads()}},
	})}}}
	return l
}

// sniTable leads each server name of each target to the backends of its route.
func (b *builder) sniTable(targets []*target) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: sniTableName, ValidateClusters: boolValue(false)}
	for _, t := range targets {
		lately := b.cfg.Lately[t.name] && (t.kind == kindTCP || t.kind == kindAuto)
		if t.kind != kindTLS && !lately {
			continue
		}
		if t.kind == kindTLS {
			b.res.names = append(b.res.names, t.name)
		}
		var owners []Source
		t.enforced, owners = b.enforce(t, onHello, b.layers(t))
		t.owners = owners
		rows, by := b.sniRows(t)
		for _, row := range rows {
			by = append(by, b.trafficOnConnections(t, row.Routes)...)
		}
		rc.VirtualHosts = append(rc.VirtualHosts, rows...)
		b.res.own(resource.RouteType, rc.Name, append(append(by, t.owners...), t.source)...)
	}
	return rc
}

// sniRows are one target's: a row for each name, and one for all that no other has.
func (b *builder) sniRows(t *target) ([]*routev3.VirtualHost, []Source) {
	var owners []Source
	byNamespace := map[string]*nameTable{}
	of := func(ns string) *nameTable {
		if byNamespace[ns] == nil {
			byNamespace[ns] = &nameTable{byName: map[string]*model.Route{}}
		}
		return byNamespace[ns]
	}
	names := map[string]bool{"*": true}
	for _, r := range b.l4Routes(t, "TLSRoute") {
		owners = append(owners, routeSource(r))
		hosts := r.Hostnames
		if len(hosts) == 0 {
			hosts = []string{"*"}
		}
		for _, h := range hosts {
			h = strings.ToLower(h)
			names[h] = true
			of(r.Namespace).add(h, r)
		}
	}
	for ns, r := range firstOf(b.l4Routes(t, "TCPRoute")) {
		owners = append(owners, routeSource(r))
		of(ns).add("*", r)
	}
	var out []*routev3.VirtualHost
	for _, name := range sortedKeys(names) {
		out = append(out, b.sniRow(t, name, byNamespace))
	}
	return out, owners
}

// sniRow is what becomes of connections for one name, by the namespace of the caller.
func (b *builder) sniRow(t *target, name string, byNamespace map[string]*nameTable) *routev3.VirtualHost {
	vh := &routev3.VirtualHost{Name: t.name + rowMark + name, TypedPerFilterConfig: t.enforced}
	for _, vip := range t.vips {
		vh.Domains = append(vh.Domains, name+"."+vip)
	}
	one := func(table *nameTable) *routev3.Route {
		if table == nil {
			return b.connection(t, nil, t.name, onHello)
		}
		r := table.find(name)
		route := b.connection(t, r, t.name, onHello)
		if r == nil {
			return refusing(route, "no TLSRoute is for this server name")
		}
		return route
	}
	for _, ns := range sortedKeys(byNamespace) {
		if ns == t.service.Namespace {
			continue
		}
		route := one(byNamespace[ns])
		route.Match.FilterState = append(route.Match.FilterState, callerFrom(ns))
		vh.Routes = append(vh.Routes, route)
	}
	vh.Routes = append(vh.Routes, one(byNamespace[t.service.Namespace]))
	return vh
}

// rowMark stands between a target and a server name in the names of the table's rows.
const rowMark = "|"

func rowTarget(vh *routev3.VirtualHost) string {
	return vh.Name[:strings.LastIndex(vh.Name, rowMark)]
}

// nameTable holds the routes of one namespace by server name.
type nameTable struct{ byName map[string]*model.Route }

// add gives a name to the first route that asks for it.
func (n *nameTable) add(name string, r *model.Route) {
	if n.byName[name] == nil {
		n.byName[name] = r
	}
}

// find is the route for a name or wildcard: its own, or that of the narrowest wildcard around it.
func (n *nameTable) find(name string) *model.Route {
	if r := n.byName[name]; r != nil {
		return r
	}
	for rest := strings.TrimPrefix(name, "*."); ; {
		_, parent, more := strings.Cut(rest, ".")
		if !more {
			return n.byName["*"]
		}
		if r := n.byName["*."+parent]; r != nil {
			return r
		}
		rest = parent
	}
}
