#!/usr/bin/env bash
# Installs Weft on the cluster that e2e/run.sh raised and runs Gateway API's mesh suite there: `make conformance`.
#   E2E_CLUSTER=existing  the cluster of the current kubeconfig, on which Gateway API's CRDs and Weft are installed
#   ARGS=                 more flags for the suite, e.g. -run-test=MeshConsumerRoute
#   UPDATE=1              a whole run that passed replaces docs/conformance/report.yaml
# The report lands in build/conformance/report.yaml. What e2e/run.sh takes holds too: E2E_INDEX=, E2E_PROXY=, KEEP=1.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/conformance version=${VERSION:-v0.0.0-dev}
mkdir -p "$out"
say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }

# The suite's application: Istio's echo programs, whose published image cannot always be pulled.
echo_image() {
  (cd e2e/conformance/echo && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "../../../$out/" \
    istio.io/istio/pkg/test/echo/cmd/server istio.io/istio/pkg/test/echo/cmd/client)
  [ -e "$out/cert.crt" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=echo \
    -addext subjectAltName=DNS:echo -keyout "$out/cert.key" -out "$out/cert.crt" 2>/dev/null
  build/bin/weft-images pack -add "$out/cert.crt=/cert.crt" -add "$out/cert.key=/cert.key" \
    registry.k8s.io/gateway-api/echo-advanced:v1.5.1 "$out/echo.tar" "$out/server" "$out/client"
  build/bin/weft-cluster load --index "$E2E_CLUSTER" "$out/echo.tar"
}

install() {
  kubectl apply --server-side -f "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard" >/dev/null
  helm install weft charts/weft --namespace weft-system --create-namespace --set "tag=${version//+/_}" --wait --timeout 3m
}

if [ "${E2E_CLUSTER:-}" != existing ]; then
  say "the suite's application"
  echo_image
  say "Weft"
  install
fi
say "suite"
(cd e2e/conformance && go test -c -o "../../$out/conformance.test" .)
rm -f "$out/report.yaml"
code=0
KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config} "$out/conformance.test" -test.v -test.timeout 40m -gateway-class weft-waypoint \
  -version "$version" -report-output "$PWD/$out/report.yaml" ${ARGS:-} >"$out/conformance.log" 2>&1 || code=$?
grep -E '^    --- (PASS|FAIL)' "$out/conformance.log" || true
grep -E 'tests of meshes passed|report.go|although its features' "$out/conformance.log" || true
if [ $code != 0 ]; then
  tail -n 40 "$out/conformance.log"
  say "failed; all of it is in $out/conformance.log"
  kubectl get pods -A -o wide || true
  exit $code
fi
[ ! -e "$out/report.yaml" ] || sed -n '/^profiles:/,$p' "$out/report.yaml"
if [ -n "${UPDATE:-}" ] && [ -e "$out/report.yaml" ]; then
  mkdir -p docs/conformance
  cp "$out/report.yaml" docs/conformance/report.yaml
  sed -nE 's/^    --- (PASS): TestConformance\/([^ ]+) .*/\1 \2/p' "$out/conformance.log" | sort >docs/conformance/tests.txt
fi
say "passed"
