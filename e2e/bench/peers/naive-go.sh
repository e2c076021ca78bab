#!/usr/bin/env bash
# A plain Go tunnel with golang.org/x/net/http2 (e2e/bench/naive): what the standard pieces give without effort.
set -euo pipefail
[ "$1" = down ] && exit 0
ulimit -n "$(ulimit -Hn)"
nsenter --net="/run/netns/$3" "$BIN/weft-naive" server -listen ":$((PORT + 1))" -app "127.0.0.1:$APP_PORT" -dir "$CERTS" 2> "$WORK/server.log" >/dev/null &
nsenter --net="/run/netns/$2" "$BIN/weft-naive" client -listen "127.0.0.1:$PORT" -peer "$SERVER_IP:$((PORT + 1))" -dir "$CERTS" 2> "$WORK/client.log" >/dev/null &
echo "127.0.0.1:$PORT"
