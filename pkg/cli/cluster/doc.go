// Package cluster reaches a mesh that runs on Kubernetes, with the rights of the person's kubeconfig.
//
// Programs are found by their service accounts in weft-system; their pages listen on loopback only and are
// read through the API server's port-forwarding, so whoever may forward ports into weft-system may look, and
// nobody else. Nothing here decides anything: weftctl's commands and its checks do.
package cluster
