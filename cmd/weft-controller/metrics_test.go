package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

// Who asks for certificates, and why some get none, is counted.
func TestCertificatesAreCounted(t *testing.T) {
	b := newBench(t)
	b.write("src/a.yaml", service("cart", 80, ""))
	address, _ := b.start()
	eventually(t, "the objects are read", func() bool { return b.page("/ready") != "" })
	self := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
	ask := func(conn securityapi.IstioCertificateServiceClient, csr, impersonate string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req := &securityapi.IstioCertificateRequest{Csr: csr, ValidityDuration: 3600}
		if impersonate != "" {
			req.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"ImpersonatedIdentity": structpb.NewStringValue(impersonate)}}
		}
		_, _ = conn.CreateCertificate(ctx, req) // the metrics say how it ended
	}
	known := securityapi.NewIstioCertificateServiceClient(b.dial(address, "shop/cart", "n1"))
	csrOf := func(id identity.Identity) string {
		_, csr, err := ca.NewRequest(id)
		if err != nil {
			t.Fatal(err)
		}
		return string(csr)
	}
	other := self
	other.ServiceAccount = "bank"
	ask(known, csrOf(self), "")
	ask(known, csrOf(other), "")
	ask(known, csrOf(other), other.String())
	ask(known, "junk", "")
	stranger, err := ca.Dial(ca.DialOptions{Address: address, RootFile: filepath.Join(b.c.caDir, ca.FileRoots),
		Server: identity.Identity{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-controller"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	ask(securityapi.NewIstioCertificateServiceClient(stranger), csrOf(self), "")
	metrics := b.page("/metrics")
	for _, want := range []string{
		`weft_controller_certificates_total{reason="",result="signed"} 1`,
		`weft_controller_certificates_total{reason="foreign_identity",result="refused"} 1`,
		`weft_controller_certificates_total{reason="not_allowed",result="refused"} 1`,
		`weft_controller_certificates_total{reason="bad_request",result="refused"} 1`,
		`weft_controller_unauthenticated_total 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
