// Command images writes Weft's container images without a container daemon.
//
// One image per program: weft-controller, weft-agent, weft-ztunnel and weft-waypoint. The base is empty; an
// image holds its static program, a user, the CA certificates and a list of what went into it (SPDX 2.3, at
// /usr/share/sbom/NAME.spdx.json, also written beside the archive). The waypoint's holds Envoy as well, and
// of glibc those files that Envoy's binary names. The agent's also holds weft-cni, which its installer
// copies to the node.
//
// The same input gives the same bytes: entries are sorted, belong to fixed users and carry one time, that of
// SOURCE_DATE_EPOCH or 1970. Go programs built with -trimpath are such an input, whatever folder they were
// built in.
//
// `make images` calls it: archives that `docker load` and `ctr images import` read land under build/images;
// with PUSH=HUB the images go to that registry too, several platforms under one name. Credentials are
// those of `docker login`.
package main
