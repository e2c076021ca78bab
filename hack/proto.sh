#!/usr/bin/env bash
# Generates Go from proto/**/*.proto. protoc comes from PyPI into build/protoc when none of the right version is
# at hand there; the Go plugins are those of go.mod and the versions below.
set -euo pipefail
cd "$(dirname "$0")/.."
TOOLS_VERSION=1.76.0 # of grpcio-tools, which holds protoc
dir=build/protoc/$TOOLS_VERSION

if [ ! -x "$dir/venv/bin/python" ] || ! "$dir/venv/bin/python" -c 'import grpc_tools' 2>/dev/null; then
  echo "Installing grpcio-tools $TOOLS_VERSION from PyPI into $dir ..." >&2
  mkdir -p "$dir"
  if ! python3 -m venv "$dir/venv" >&2; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install -y python3-venv" >&2; exit 1; }
    apt-get update -q >&2 && apt-get install -y -q python3-venv >&2
    python3 -m venv "$dir/venv" >&2
  fi
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check "grpcio-tools==$TOOLS_VERSION" >&2
fi
go build -o "$dir/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
"$dir/venv/bin/python" -m grpc_tools.protoc --plugin="$dir/protoc-gen-go" -I proto \
  --go_out=. --go_opt=module=github.com/weftmesh/weft $(find proto -name '*.proto' | sort)
