#!/usr/bin/env bash
# Envoy as a plain HTTP reverse proxy on both sides, mutual TLS between them, kept-alive upstream connections:
# what the waypoint's hop is held against.
set -euo pipefail
[ "$1" = down ] && exit 0
envoy=${WEFT_ENVOY:-$(command -v envoy || true)}
[ -x "$envoy" ] || { echo "envoy is not installed (bash hack/envoy.sh)" >&2; exit 3; }
ulimit -n "$(ulimit -Hn)"

tls() { # kind; more fields: a TLS socket that shows its own certificate and wants the other's
  cat <<CONF
{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.$1, $2, common_tls_context: {
        tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3},
        tls_certificates: [{certificate_chain: {filename: $CERTS/cert.pem}, private_key: {filename: $CERTS/key.pem}}],
        validation_context: {trusted_ca: {filename: $CERTS/ca.pem}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: bench}}]}}}}
CONF
}

conf() { # role, address to listen on, its port, address to call, its port, the listener's socket, the cluster's
  cat > "$WORK/$1.yaml" <<CONF
static_resources:
  listeners:
  - address: {socket_address: {address: $2, port_value: $3}}
    filter_chains:
    - transport_socket: $6
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: next, timeout: 0s}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: next
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment: {cluster_name: next, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: $4, port_value: $5}}}}]}]}
    transport_socket: $7
CONF
}

plain='{name: plain, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}'
conf server 0.0.0.0 $((PORT + 1)) 127.0.0.1 "$APP_PORT" "$(tls DownstreamTlsContext 'require_client_certificate: true')" "$plain"
conf client 127.0.0.1 "$PORT" "$SERVER_IP" $((PORT + 1)) "$plain" "$(tls UpstreamTlsContext 'sni: bench')"
for side in "server $3 $((PORT + 1))" "client $2 $PORT"; do
  read -r role ns port <<< "$side"
  # With hot restart Envoy would have the kernel end it together with this script.
  nsenter --net="/run/netns/$ns" "$envoy" -c "$WORK/$role.yaml" --concurrency 2 --disable-hot-restart -l warn > "$WORK/$role.log" 2>&1 < /dev/null &
  for try in $(seq 101); do
    nsenter --net="/run/netns/$ns" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null && break
    [ "$try" -le 100 ] || { echo "no Envoy on $port after 10 s:" >&2; tail -5 "$WORK/$role.log" >&2; exit 1; }
    sleep 0.1
  done
done
echo "127.0.0.1:$PORT"
