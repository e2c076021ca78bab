# Weft's tasks; `make help` lists them. Everything built lands under build/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BUILD := build
comma := ,
BIN := $(BUILD)/bin
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.0.0-dev)
# Without x/net/trace the linker leaves out methods that nobody calls: a quarter of weft-ztunnel.
TAGS := grpcnotrace
LDFLAGS := -s -w -X github.com/weftmesh/weft/internal/version.Version=$(VERSION) -X github.com/weftmesh/weft/internal/version.revision=$(COMMIT)
HUB ?= ghcr.io/weftmesh
ARCH := $(shell go env GOHOSTARCH)
PLATFORMS ?= linux/$(ARCH)
LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## List the tasks
	@[ -t 1 ] && c='\033[36m' r='\033[0m'; awk -v c="$$c" -v r="$$r" -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %s%-12s%s %s\n", c, $$1, r, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every program into build/bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...
	@for app in examples/shop/apps/*/; do \
	  CGO_ENABLED=0 go build -trimpath -o $(BIN)/shop-$$(basename $$app) ./$$app || exit 1; done

.PHONY: images
images: build ## Container images as archives in build/images; PUSH=HUB, PLATFORMS="linux/amd64 linux/arm64", SOURCE_DATE_EPOCH=
	@for platform in $(PLATFORMS); do [ "$$platform" = linux/$(ARCH) ] || GOOS=$${platform%%/*} GOARCH=$${platform##*/} CGO_ENABLED=0 \
	  go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BUILD)/$$platform/ ./cmd/... || exit 1; done
	cd images && CGO_ENABLED=0 go build -trimpath -o ../$(BIN)/weft-images .
	@$(BIN)/weft-images -version "$(VERSION)" -revision "$(COMMIT)" -out $(BUILD)/images $(if $(PUSH),-push) -hub "$(or $(PUSH),$(HUB))" \
	  -bin linux/$(ARCH)=$(BIN) -envoy "linux/$(ARCH)=$$(bash hack/envoy.sh)" \
	  $(foreach platform,$(filter-out linux/$(ARCH),$(PLATFORMS)),-bin $(platform)=$(BUILD)/$(platform))

.PHONY: conformance
conformance: images cluster ## Gateway API's mesh suite on a real cluster (root); UPDATE=1 keeps the report; E2E_CLUSTER=existing, ARGS=
	@VERSION="$(VERSION)" bash e2e/run.sh bash hack/conformance.sh

.PHONY: envoy
envoy: ## Find an Envoy, or install one under build/envoy
	@bash hack/envoy.sh

.PHONY: demo
demo: build ## The whole mesh on this machine, told in eight checked steps (root); STEP=n, KEEP=1
	@[ "$$(id -u)" = 0 ] || { echo "make demo needs root: it makes network namespaces, cgroups and loads eBPF. Try: sudo make demo"; exit 1; }
	@WEFT_ENVOY="$$(bash hack/envoy.sh)" $(BIN)/weftctl demo $(if $(STEP),--step $(STEP)) $(if $(KEEP),--keep)

.PHONY: test
test: build ## Every test, with the race detector; privileged ones skip visibly without root
	WEFT_ENVOY="$$(bash hack/envoy.sh)" go test -race -timeout 20m ./...
	go test -run "TestIdleMemory|TestMessagesAllocateNothing|TestNoAllocation" ./pkg/hbone ./pkg/hbone/record ./ztunnel/relay # not under -race, which allocates
	cd e2e && WEFT_BIN="$(CURDIR)/$(BIN)" WEFT_ENVOY="$$(bash ../hack/envoy.sh)" go test -trimpath=false -race -timeout 20m ./...
	cd images && WEFT_BIN="$(CURDIR)/$(BIN)" WEFT_ENVOY="$$(bash ../hack/envoy.sh)" go test ./...

.PHONY: chart-test
chart-test: ## The Helm chart: lint, values, golden renders; with `make cluster` a real API server takes every object; UPDATE=1
	@set -o pipefail; kube="$${WEFT_KUBE:-$$([ ! -x $(BIN)/weft-cluster ] || $(BIN)/weft-cluster build kube)}"; WEFT_KUBE="$$kube" go test -v ./charts $(if $(UPDATE),-update) | grep -vE '^(=== | +[IWE][0-9]{4} )'

.PHONY: cluster
cluster: ## Build all that a real Kubernetes needs, from Go modules: minutes once, kept in ~/.cache/weft-e2e (root)
	@mkdir -p $(BIN)
	cd e2e && CGO_ENABLED=0 go build -trimpath=false -o ../$(BIN)/weft-cluster ./cluster/weft-cluster
	@$(BIN)/weft-cluster build

.PHONY: e2e
e2e: images cluster ## Weft on a real cluster, installed by helm (root); E2E_CLUSTER=existing, RUN=TestMesh, KEEP=1
	e2e/run.sh bash -c 'cd e2e && go test -trimpath=false -count=1 -v -p 1 -timeout 45m $(if $(RUN),-run "$(RUN)") ./cluster ./kube ./docs'

.PHONY: soak
soak: ## MINUTES=30 of the demo's traffic under the race detector: races, leaks, clear text fail (root)
	@[ "$$(id -u)" = 0 ] || { echo "make soak needs root: it makes network namespaces, cgroups and loads eBPF. Try: sudo make soak"; exit 1; }
	@mkdir -p $(BUILD)/race/bin
	CGO_ENABLED=1 go build -race -o $(BUILD)/race/bin/ ./cmd/...
	@for app in examples/shop/apps/*/; do \
	  CGO_ENABLED=1 go build -race -o $(BUILD)/race/bin/shop-$$(basename $$app) ./$$app || exit 1; done
	cd e2e && go build -o ../$(BUILD)/race/bin/weft-soak ./soak
	@WEFT_ENVOY="$$(bash hack/envoy.sh)" $(BUILD)/race/bin/weft-soak -minutes $(or $(MINUTES),30) -out $(BUILD)/soak.json

.PHONY: changes
changes: ## CHANGES=1000 changes of routes, policies, services and waypoints under load; one failed request fails it (root)
	cd e2e && WEFT_ENVOY="$$(bash ../hack/envoy.sh)" CHANGES=$(or $(CHANGES),1000) go test -count=1 -v -timeout 60m ./delivery

.PHONY: bench
bench: build ## Speed and cost against a direct connection and peers (root); ROUNDS=, TESTS=, PATHS=, PEERS=DIR, QUICK=1
	@[ "$$(id -u)" = 0 ] || { echo "make bench needs root: it makes network namespaces, cgroups and loads eBPF. Try: sudo make bench"; exit 1; }
	@for peer in nginx haproxy; do PATH=$$PATH:/usr/sbin command -v $$peer >/dev/null || { command -v apt-get >/dev/null && apt-get install -y -q $$peer >/dev/null 2>&1; } || echo "no $$peer: left out"; done
	cd e2e && CGO_ENABLED=0 go build -o ../$(BIN)/weft-bench ./bench && CGO_ENABLED=0 go build -o ../$(BIN)/weft-load ./bench/load && CGO_ENABLED=0 go build -o ../$(BIN)/weft-naive ./bench/naive
	@WEFT_ENVOY="$$(bash hack/envoy.sh)" $(BIN)/weft-bench -out $(BUILD)/bench.json -peers e2e/bench/peers$(if $(PEERS),$(comma)$(PEERS)) \
	  $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(TESTS),-tests $(TESTS)) $(if $(PATHS),-paths $(PATHS)) \
	  $(if $(QUICK),-quick,$(if $(TESTS)$(PATHS),,-markdown docs/performance.md))

.PHONY: bench-noisy
bench-noisy: build ## What a noisy pod costs its neighbour on the same node (root, 5 minutes); ROUNDS=, QUICK=1
	@[ "$$(id -u)" = 0 ] || { echo "make bench-noisy needs root: it makes network namespaces, cgroups and loads eBPF. Try: sudo make bench-noisy"; exit 1; }
	cd e2e && CGO_ENABLED=0 go build -o ../$(BIN)/weft-bench ./bench && CGO_ENABLED=0 go build -o ../$(BIN)/weft-load ./bench/load
	@$(BIN)/weft-bench -tests noisy -paths direct,l4 -out $(BUILD)/noisy.json $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(QUICK),-quick,-markdown docs/performance.md)

.PHONY: profile
profile: build ## Where the ztunnels' time goes: flame graphs, shares, system calls, waits (root, 1 minute; counts need perf); NOWRITE=1
	@[ "$$(id -u)" = 0 ] || { echo "make profile needs root: it makes network namespaces, cgroups and loads eBPF. Try: sudo make profile"; exit 1; }
	cd e2e && CGO_ENABLED=0 go build -o ../$(BIN)/weft-bench ./bench && CGO_ENABLED=0 go build -o ../$(BIN)/weft-load ./bench/load
	@$(BIN)/weft-bench -profile $(BUILD)/profiles -out $(BUILD)/profiles.json $(if $(NOWRITE),,-markdown docs/performance.md)

.PHONY: scale
scale: build ## What meshes of some sizes cost, and a controller with 1,000 simulated ztunnels; WORKLOADS=1000,10000 ZTUNNELS=
	cd e2e && CGO_ENABLED=0 go build -o ../$(BIN)/weft-bench ./bench
	@$(BIN)/weft-bench -tests scale,fleet -out $(BUILD)/scale.json $(if $(WORKLOADS),-workloads $(WORKLOADS)) $(if $(ZTUNNELS),-ztunnels $(ZTUNNELS)) $(if $(QUICK),-quick)

.PHONY: generate
generate: ## Compile the eBPF programs (clang, llvm, libbpf headers), make the CRDs
	go generate ./...

.PHONY: lint
lint: ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	go vet ./...
	$(LINT) run ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BUILD)
