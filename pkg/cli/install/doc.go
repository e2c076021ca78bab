// Package install puts Weft's chart into a cluster and takes it out again.
//
// It is Helm, as a library, on the chart that is part of this binary: what weftctl installs, helm lists,
// upgrades and rolls back, and the other way round.
package install

import (
	_ "helm.sh/helm/v4/pkg/action"
	_ "helm.sh/helm/v4/pkg/chart/loader"
)
