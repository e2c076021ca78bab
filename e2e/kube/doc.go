// Package kube is the suite that runs on a real cluster with Weft installed by its chart: `make e2e`.
//
// E2E_CLUSTER says which cluster: the index of one that weft-cluster raised (e2e/run.sh sets it), or `existing` for
// the current kubeconfig, where tests that need a node's insides (captures, reboots) skip. Without it the whole suite
// skips visibly. E2E_HUB and E2E_TAG name Weft's images on an existing cluster and E2E_BASE the one of the tests' pods,
// which `weft-cluster build base.tar` shows where to load from; E2E_OUT is the folder for evidence and tables (build/e2e).
//
// The chart is installed once, by the real helm, before the first test (not with E2E_INSTALL=no). Each test has namespaces of its own.
package kube
