#!/usr/bin/env bash
# Envoy as a plain HTTP reverse proxy on both sides, mutual TLS between them: what the waypoint's Envoy would cost
# if it were nothing else. Two processes carry a request here, one in the waypoint.
set -euo pipefail
[ "$1" = down ] && exit 0
envoy=${WEFT_ENVOY:-$(command -v envoy || true)}
[ -x "$envoy" ] || { echo "envoy is not installed (bash hack/envoy.sh)" >&2; exit 3; }

tls() { # the certificates and what else both ends of the TLS have in common
  cat <<CONF
common_tls_context:
            tls_params: {tls_minimum_protocol_version: TLSv1_3}
            tls_certificates: [{certificate_chain: {filename: $CERTS/cert.pem}, private_key: {filename: $CERTS/key.pem}}]
            validation_context: {trusted_ca: {filename: $CERTS/ca.pem}}
CONF
}

conf() { # role, address to listen on, its port, address to call, its port, TLS of the listener, TLS of the cluster
  cat > "$WORK/$1.yaml" <<CONF
static_resources:
  listeners:
  - address: {socket_address: {address: $2, port_value: $3}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: next, timeout: 0s}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
$6
  clusters:
  - name: next
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment: {cluster_name: next, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: $4, port_value: $5}}}}]}]}
$7
CONF
}

listener_tls="      transport_socket:
        name: tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          $(tls)"
cluster_tls="    transport_socket:
        name: tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: bench
          $(tls)"
conf server 0.0.0.0 $((PORT + 1)) 127.0.0.1 "$APP_PORT" "$listener_tls" ""
conf client 127.0.0.1 "$PORT" "$SERVER_IP" $((PORT + 1)) "" "$cluster_tls"
for side in "server $3" "client $2"; do
  read -r role ns <<< "$side"
  nsenter --net="/run/netns/$ns" "$envoy" -c "$WORK/$role.yaml" --concurrency 2 --use-dynamic-base-id -l warn > "$WORK/$role.log" 2>&1 < /dev/null &
done
for _ in $(seq 100); do
  nsenter --net="/run/netns/$2" bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT" 2>/dev/null && nsenter --net="/run/netns/$3" bash -c "exec 3<>/dev/tcp/127.0.0.1/$((PORT + 1))" 2>/dev/null && break
  sleep 0.1
done
echo "127.0.0.1:$PORT"
