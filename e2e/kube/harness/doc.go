// Package harness is what the suites on a real cluster have in common: the cluster and its clients, Weft installed by
// helm, namespaces with pods that serve and call, witnesses on the nodes' links, and evidence when a test fails.
package harness
