package checks

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
)

// Expiring lists certificates that a ztunnel should have renewed: they are renewed at half their life, so
// that one has less than a fifth of an hour, or has an error, tells that renewal fails. By node and identity.
func (f *Facts) Expiring() []string {
	var out []string
	for _, node := range sortedKeys(f.Certificates) {
		for _, c := range f.Certificates[node] {
			if why := expiring(c, f.Now); why != "" {
				out = append(out, fmt.Sprintf("%s on %s %s", c.Identity, node, why))
			}
		}
	}
	return out
}

func expiring(c ca.Status, now time.Time) string {
	left := c.NotAfter.Sub(now)
	switch {
	case c.NotAfter.IsZero() && c.Error != "":
		return "has never been had: " + c.Error
	case c.NotAfter.IsZero():
		return ""
	case left <= 0:
		return "ran out " + (-left).Round(time.Second).String() + " ago" + because(c.Error)
	case c.Error != "":
		return "is not renewed, " + left.Round(time.Second).String() + " left" + because(c.Error)
	}
	return ""
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// Roots are the certificates of the mesh's roots.
func (f *Facts) Roots() []*x509.Certificate {
	var out []*x509.Certificate
	for rest := []byte(f.Root); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
}

func certificates(f *Facts) []Result {
	var out []Result
	roots := f.Roots()
	if len(roots) == 0 {
		out = append(out, warn("the mesh's root is published", "no ConfigMap weft-root in weft-system", "the controller's leader writes it: kubectl -n weft-system logs deployment/weft-controller"))
	}
	for _, c := range roots {
		const name = "the mesh's roots live long enough"
		left := c.NotAfter.Sub(f.Now)
		detail := fmt.Sprintf("%s until %s", c.Subject.CommonName, c.NotAfter.UTC().Format(time.DateOnly))
		switch {
		case left <= 0:
			out = append(out, fail(name, detail, "no certificate below it is accepted any more; docs/operate.md says how to replace it"))
		case left < 60*24*time.Hour:
			out = append(out, warn(name, detail, "replace it in good time: docs/operate.md"))
		default:
			out = append(out, ok(name, detail))
		}
	}
	held := 0
	for _, list := range f.Certificates {
		held += len(list)
	}
	const name = "certificates are renewed"
	if late := f.Expiring(); len(late) > 0 {
		return append(out, fail(name, some(late), "the ztunnel's log says why: weftctl get certificates, weftctl logs ztunnel/NODE"))
	}
	if held > 0 {
		out = append(out, ok(name, count(held, "certificate")))
	}
	return out
}
