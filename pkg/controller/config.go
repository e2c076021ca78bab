package controller

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/modules"
)

// Config is what the objects do not say. The zero value is usable.
type Config struct {
	// TrustDomain of all identities. Default cluster.local.
	TrustDomain string
	// ClusterDomain is the suffix of service names. Default cluster.local.
	ClusterDomain string
	// Cluster begins the workloads' uids. Default Kubernetes.
	Cluster string
	// Ranges of addresses that pods have, beside those that the Nodes tell. Default none.
	Ranges []netip.Prefix
	// Network that all pods are in. Default none.
	Network string
	// Keys of token issuers that were fetched, by jwks.Location.ID. nil: nobody fetches any.
	Keys map[string]jwks.State
	// Modules that were fetched.
	Modules modules.Known
	// Now is when this is: a fault whose expiry is not after it is over. Zero: none is.
	Now time.Time
}

func (c Config) withDefaults() Config {
	c.TrustDomain = cmp.Or(c.TrustDomain, identity.DefaultTrustDomain)
	c.ClusterDomain = cmp.Or(c.ClusterDomain, "cluster.local")
	c.Cluster = cmp.Or(c.Cluster, "Kubernetes")
	return c
}
