#!/usr/bin/env bash
# HAProxy as HTTP proxy on both sides, mutual TLS between them, upstream connections reused.
set -euo pipefail
[ "$1" = down ] && exit 0
haproxy=$(command -v haproxy || echo /usr/sbin/haproxy)
[ -x "$haproxy" ] || { echo "haproxy is not installed (apt-get install haproxy)" >&2; exit 3; }
cat "$CERTS/cert.pem" "$CERTS/key.pem" > "$WORK/both.pem"

conf() { # role, bind, server
  cat > "$WORK/$1.cfg" <<CONF
global
  maxconn $(( ($(ulimit -Hn) - 200) / 2 < 30000 ? ($(ulimit -Hn) - 200) / 2 : 30000 ))
  nbthread 2
  tune.bufsize 65536
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend in
  bind $2
  default_backend out
backend out
  server next $3
$4
CONF
}

next="$SERVER_IP:$((PORT + 1)) ssl crt $WORK/both.pem ca-file $CERTS/ca.pem verify required verifyhost bench"
conf client "127.0.0.1:$PORT" "$next" "frontend cold
  bind 127.0.0.1:$((PORT + 2))
  default_backend cold
backend cold
  http-reuse never
  option httpclose
  server next $next no-ssl-reuse pool-max-conn 0"
conf server "*:$((PORT + 1)) ssl crt $WORK/both.pem ca-file $CERTS/ca.pem verify required" "127.0.0.1:$APP_PORT" ""
nsenter --net="/run/netns/$3" "$haproxy" -D -f "$WORK/server.cfg" -p "$WORK/server.pid"
nsenter --net="/run/netns/$2" "$haproxy" -D -f "$WORK/client.cfg" -p "$WORK/client.pid"
echo "cold 127.0.0.1:$((PORT + 2))"
echo "127.0.0.1:$PORT"
