#!/usr/bin/env bash
# nginx as HTTP proxy on both sides, mutual TLS between them, kept-alive upstream connections.
set -euo pipefail
[ "$1" = down ] && exit 0
nginx=$(command -v nginx || echo /usr/sbin/nginx)
[ -x "$nginx" ] || { echo "nginx is not installed (apt-get install nginx)" >&2; exit 3; }

conf() { # role, server block, upstream block
  cat > "$WORK/$1.conf" <<CONF
user root; worker_processes 2; worker_rlimit_nofile $(ulimit -Hn); pid $WORK/$1.pid; error_log $WORK/$1.log warn;
events { worker_connections $(ulimit -Hn); }
http {
  access_log off; client_max_body_size 0; keepalive_requests 100000000; keepalive_timeout 600s; proxy_read_timeout 600s;
  client_body_temp_path $WORK/$1.body; proxy_temp_path $WORK/$1.proxy; fastcgi_temp_path $WORK/$1.f; uwsgi_temp_path $WORK/$1.u; scgi_temp_path $WORK/$1.s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 256k; client_body_buffer_size 128k;
  proxy_ssl_certificate $CERTS/cert.pem; proxy_ssl_certificate_key $CERTS/key.pem; proxy_ssl_trusted_certificate $CERTS/ca.pem;
  proxy_ssl_verify on; proxy_ssl_name bench; proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  upstream next { server $3; keepalive 128; keepalive_requests 100000000; }
  server { $2 }
  $4
}
CONF
}

conf client "listen 127.0.0.1:$PORT; location / { proxy_pass https://next; }" "$SERVER_IP:$((PORT + 1))" "server { listen 127.0.0.1:$((PORT + 2)); location / { proxy_ssl_session_reuse off; proxy_set_header Connection close; proxy_pass https://$SERVER_IP:$((PORT + 1)); } }"
conf server "listen $((PORT + 1)) ssl; ssl_certificate $CERTS/cert.pem; ssl_certificate_key $CERTS/key.pem; ssl_client_certificate $CERTS/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; location / { proxy_pass http://next; }" "127.0.0.1:$APP_PORT" ""
nsenter --net="/run/netns/$3" "$nginx" -c "$WORK/server.conf"
nsenter --net="/run/netns/$2" "$nginx" -c "$WORK/client.conf"
echo "cold 127.0.0.1:$((PORT + 2))"
echo "127.0.0.1:$PORT"
