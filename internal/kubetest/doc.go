// Package kubetest runs a real API server for tests: etcd and kube-apiserver, without nodes.
//
// Both are subcommands of one binary, kube, which e2e/cluster builds; its path is in WEFT_KUBE. Without it
// tests skip, except in CI, where they fail.
package kubetest
