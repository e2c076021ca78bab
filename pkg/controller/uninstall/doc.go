// Package uninstall takes Weft out of a cluster while its pods go on talking. It is called by the command
// weft-controller uninstall, which the chart runs as a Job before Helm removes anything.
//
// The order is what matters. First the agents: their DaemonSet is deleted, and by the ConfigMap
// weft-uninstall each of them knows that it is to give its node back: pods leave the mesh, then everything on
// the node goes. Meanwhile ztunnels
// still carry what is captured. Only then the controllers, and what they made beyond their namespace: taints,
// waypoints, the mesh's roots. What is left is the chart's own, which Helm removes: ztunnels, at last.
//
// What people wrote stays: policies, Gateways, labels. So does the Secret with the mesh's root.
package uninstall
