package controller

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// lintKeys finds addresses of keys that a controller will never reach, and those whose answer anybody on the way could
// write. Whether the others answer only a controller can tell: it says so in the status.
func (c *compiler) lintKeys() {
	for _, o := range c.objs.RequestAuthentications {
		for i, p := range o.Value.Spec.Providers {
			u, err := url.Parse(p.JWKS.URI)
			if err != nil || p.JWKS.URI == "" {
				continue
			}
			st, path := c.status("RequestAuthentication", o.Value, o.Origin), fmt.Sprintf("spec.providers[%d].jwks.uri", i)
			refused := ": all tokens of issuer " + p.Issuer + " would be refused"
			service, inside := c.serviceOfHost(u.Hostname())
			switch a, err := netip.ParseAddr(u.Hostname()); {
			case err == nil && a.Unmap().IsLinkLocalUnicast():
				st.warn(path, "addresses of the local link are never asked for keys"+refused, "write the issuer's own address")
			case err == nil && a.IsLoopback() || u.Hostname() == "localhost":
				st.warn(path, "the controller fetches the keys, and this names its own machine"+refused, "write the issuer's own address")
			case inside && c.services[service] == nil:
				st.warn(path, "there is no Service "+service+" that could be asked for keys"+refused, "make it, or correct the address")
			case u.Scheme == "http" && !inside:
				st.warn(path, "whoever is on the way can replace keys that come by http, and then make tokens", "write https")
			}
		}
	}
}

// serviceOfHost is the Service, namespace/name, that a name of the cluster is for. Namespaces of which no object is
// here are not judged.
func (c *compiler) serviceOfHost(host string) (name string, inside bool) {
	host, inside = strings.CutSuffix(strings.TrimSuffix(host, "."), ".svc."+c.cfg.ClusterDomain)
	if !inside {
		host, inside = strings.CutSuffix(host, ".svc")
	}
	service, namespace, ok := strings.Cut(host, ".")
	if !inside || !ok || c.namespaces[namespace] == nil {
		return "", false
	}
	return namespace + "/" + service, true
}
