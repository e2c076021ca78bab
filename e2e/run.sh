#!/usr/bin/env bash
# e2e/run.sh COMMAND ... runs a command with a Kubernetes cluster: raises one, loads build/images/*.tar into its nodes,
# and takes it down whatever becomes of the command. The command gets KUBECONFIG, kubectl and helm in PATH, and
# E2E_CLUSTER. E2E_CLUSTER=existing: the current kubeconfig is used, and nothing is raised or taken down.
# E2E_INDEX=9 which cluster, E2E_NODES=2, E2E_PROXY=nftables, E2E_FAMILY=dual (or ipv4), KEEP=1 leaves it up when the command fails.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

if [ "${E2E_CLUSTER:-}" = existing ]; then exec "$@"; fi
index=${E2E_INDEX:-9}
weft-cluster() { "$root/build/bin/weft-cluster" "$1" --index "$index" "${@:2}"; }
finish() {
  code=$?
  trap - EXIT INT TERM
  if [ -n "${child:-}" ]; then # interrupted: the command first, with all that it started
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" || true
  fi
  if [ "$code" != 0 ] && [ -n "${KEEP:-}" ]; then
    echo "cluster $index stays up; take it down with: build/bin/weft-cluster down --index $index" >&2
  else
    weft-cluster down || code=1
  fi
  exit "$code"
}
weft-cluster down # what a killed run left
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
images=() && for tar in "$root"/build/images/weft-*.tar; do [ -e "$tar" ] && images+=(--image "$tar"); done
weft-cluster up --nodes "${E2E_NODES:-2}" --proxy-mode "${E2E_PROXY:-nftables}" --family "${E2E_FAMILY:-dual}" "${images[@]}"
eval "$(weft-cluster env)"
export E2E_CLUSTER=$index
set -m # a process group for the command; waiting for it in the background lets signals through at once
"$@" &
child=$!
code=0
wait "$child" || code=$?
child=
exit "$code"
