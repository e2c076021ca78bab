package bpf

// The committed objects are little-endian only (amd64, arm64, riscv64, …): no
// big-endian machine runs Kubernetes in numbers worth a doubled object.
// Regenerating needs clang ≥ 14, libbpf's headers (libbpf-dev) and linux-libc-dev.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel pod src/pod.c -- -I src -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -type event node src/node.c -- -I src -O2 -g -Wall -Werror -mcpu=v3
