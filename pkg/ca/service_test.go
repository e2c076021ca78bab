package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

func createCert(t *testing.T, r *rig, token string, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return securityapi.NewIstioCertificateServiceClient(r.dial(t, token)).CreateCertificate(ctx, req)
}

func csrOf(t *testing.T, tmpl *x509.CertificateRequest, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}))
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(t *testing.T, id identity.Identity, impersonate string) *securityapi.IstioCertificateRequest {
	t.Helper()
	_, csr, err := NewRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	req := &securityapi.IstioCertificateRequest{Csr: string(csr), ValidityDuration: 3600}
	if impersonate != "" {
		req.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{impersonated: structpb.NewStringValue(impersonate)}}
	}
	return req
}

func TestZtunnelGetsPodsOfItsNode(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	resp, err := createCert(t, r, r.token(t, MintOptions{Node: "n1"}), request(t, cart, cart.String()))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCertificates([]byte(resp.CertChain[0]))
	if err != nil {
		t.Fatal(err)
	}
	leaf := certs[0]
	id, err := VerifyPeer(certs, PeerPolicy{Roots: r.authority.Pool(), TrustDomain: "cluster.local", Now: time.Now(), Client: true})
	if err != nil || id != cart {
		t.Errorf("leaf is %v, %v; want %v", id, err, cart)
	}
	if leaf.Subject.String() != "" || len(leaf.DNSNames) != 0 || leaf.IsCA {
		t.Errorf("leaf has subject %q, DNS names %v, CA %v; want only the SPIFFE id", leaf.Subject, leaf.DNSNames, leaf.IsCA)
	}
	if life := time.Until(leaf.NotAfter); life > time.Hour || life < 59*time.Minute {
		t.Errorf("leaf lives %v, asked for 1h", life)
	}
	if last := resp.CertChain[len(resp.CertChain)-1]; last != string(r.authority.RootPEM()) {
		t.Errorf("last element of the chain is not the root:\n%s", last)
	}
}

func TestForeignIdentitiesAreRefused(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	key := ecKey(t)
	n1 := r.token(t, MintOptions{Node: "n1"})
	bareCSR := csrOf(t, &x509.CertificateRequest{}, key)
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := request(t, cart, cart.String())
	blk, _ := pem.Decode([]byte(broken.Csr))
	blk.Bytes[len(blk.Bytes)-5] ^= 0xff
	broken.Csr = string(pem.EncodeToMemory(blk))
	with := func(csr, impersonate string) *securityapi.IstioCertificateRequest {
		req := request(t, cart, impersonate)
		req.Csr = csr
		return req
	}
	short := request(t, cart, cart.String())
	short.ValidityDuration = 29
	huge := request(t, cart, cart.String())
	huge.ValidityDuration = 1 << 62

	for name, tc := range map[string]struct {
		token string
		req   *securityapi.IstioCertificateRequest
		code  codes.Code
		says  string
	}{
		"pod of another node":         {n1, request(t, catalog, catalog.String()), codes.PermissionDenied, "no pod of service account shop/catalog runs on node n1"},
		"no such pod":                 {n1, request(t, cart, "spiffe://cluster.local/ns/shop/sa/ghost"), codes.PermissionDenied, "no pod of service account shop/ghost"},
		"other trust domain":          {n1, request(t, cart, "spiffe://evil.example/ns/shop/sa/cart"), codes.PermissionDenied, "no pod"},
		"not a node proxy":            {r.token(t, MintOptions{Node: "n1", ServiceAccount: "shop/cart"}), request(t, catalog, catalog.String()), codes.PermissionDenied, "shop/cart is not a node proxy"},
		"token without node":          {r.token(t, MintOptions{}), request(t, cart, cart.String()), codes.PermissionDenied, "not bound to a node"},
		"CSR names somebody else":     {n1, request(t, catalog, cart.String()), codes.PermissionDenied, "it asks for " + catalog.String()},
		"CSR foreign, own identity":   {n1, request(t, cart, ""), codes.PermissionDenied, "the caller may have spiffe://cluster.local/ns/weft-system/sa/weft-ztunnel"},
		"CSR with a DNS name":         {n1, with(csrOf(t, &x509.CertificateRequest{DNSNames: []string{"bank.example"}}, key), cart.String()), codes.PermissionDenied, "DNS"},
		"CSR with two URIs":           {n1, with(csrOf(t, &x509.CertificateRequest{URIs: []*url.URL{cart.URL(), catalog.URL()}}, key), cart.String()), codes.PermissionDenied, "it asks for"},
		"impersonated is no identity": {n1, with(bareCSR, "cart"), codes.InvalidArgument, "not a workload identity"},
		"broken signature":            {n1, broken, codes.InvalidArgument, "signature"},
		"weak key":                    {n1, with(csrOf(t, &x509.CertificateRequest{}, weak), cart.String()), codes.InvalidArgument, "P-224 is too weak"},
		"no CSR":                      {n1, with("", cart.String()), codes.InvalidArgument, "PEM"},
		"a certificate instead":       {n1, with(string(r.authority.RootPEM()), cart.String()), codes.InvalidArgument, "PEM"},
		"too large":                   {n1, with(strings.Repeat("x", maxRequest+1), cart.String()), codes.InvalidArgument, "at most"},
		"too short a life":            {n1, short, codes.InvalidArgument, "30s"},
		"absurd life":                 {n1, huge, codes.InvalidArgument, "validity_duration"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := createCert(t, r, tc.token, tc.req)
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, %v\nwant %v that says %q", resp, err, tc.code, tc.says)
			}
		})
	}
	t.Run("no snapshot yet", func(t *testing.T) {
		err := (&NodePolicy{proxies: []string{"weft-system/weft-ztunnel"}}).MayImpersonate(Caller{Namespace: "weft-system", ServiceAccount: "weft-ztunnel", Node: "n1"}, cart)
		if err == nil || !strings.Contains(err.Error(), "has not read") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("host network and waypoints do not count", func(t *testing.T) {
		host, way := pod("a", "n1", cart), pod("b", "n1", catalog)
		host.HostNetwork, way.NativeTunnel = true, true
		r.nodes.SetSnapshot(snapshotWith(host, way))
		for _, id := range []identity.Identity{cart, catalog} {
			if _, err := createCert(t, r, n1, request(t, id, id.String())); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%v: got %v, want PermissionDenied", id, err)
			}
		}
	})
}

// A pod that is scheduled has its identity before it has an address, on its node alone.
func TestScheduledPodHasItsIdentity(t *testing.T) {
	p := NewNodePolicy("weft-system/weft-ztunnel")
	p.Grace = 0
	s := model.NewSnapshot()
	w := pod("cart-1", "n1", cart)
	w.Addresses = nil
	s.Pending.Set(w.UID, w)
	p.SetSnapshot(s)
	if err := p.MayImpersonate(Caller{Namespace: "weft-system", ServiceAccount: "weft-ztunnel", Node: "n1"}, cart); err != nil {
		t.Errorf("its own node: %v", err)
	}
	if err := p.MayImpersonate(Caller{Namespace: "weft-system", ServiceAccount: "weft-ztunnel", Node: "n2"}, cart); err == nil {
		t.Error("another node may be the pod")
	}
}

// A node asks for its new pod's certificate before the controller has heard of the pod.
func TestNewPodIsAwaited(t *testing.T) {
	clock := newFakeClock()
	p := NewNodePolicy("weft-system/weft-ztunnel")
	p.Clock = clock
	ztunnel := Caller{Namespace: "weft-system", ServiceAccount: "weft-ztunnel", Node: "n1"}
	got := make(chan error, 1)
	ask := func() { go func() { got <- p.MayImpersonate(ztunnel, cart) }() }
	ask()
	eventually(t, "it waits", func() bool { return clock.next() == time.Second })
	p.SetSnapshot(snapshotWith(pod("other", "n1", catalog)))
	p.SetSnapshot(snapshotWith(pod("cart-1", "n1", cart)))
	if err := <-got; err != nil {
		t.Errorf("the pod became known: %v", err)
	}
	p.SetSnapshot(snapshotWith())
	clock.Advance(time.Second)
	ask()
	eventually(t, "it waits", func() bool { return clock.next() == time.Second })
	clock.Advance(time.Second)
	if err := <-got; err == nil || !strings.Contains(err.Error(), "no pod of service account shop/cart runs on node n1") {
		t.Errorf("after the wait: %v", err)
	}
	if err := p.MayImpersonate(Caller{Namespace: "shop", ServiceAccount: "cart", Node: "n1"}, cart); err == nil {
		t.Error("who is no node proxy was allowed")
	}
}

func TestCallersOwnIdentity(t *testing.T) {
	r := startCA(t, AuthorityOptions{TTL: time.Hour})
	waypoint := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "waypoint"}
	req := request(t, waypoint, "")
	req.ValidityDuration = 48 * 3600
	resp, err := createCert(t, r, r.token(t, MintOptions{ServiceAccount: "shop/waypoint"}), req)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCertificates([]byte(resp.CertChain[0]))
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(certs[0].NotAfter); life > time.Hour {
		t.Errorf("leaf lives %v, the authority allows 1h", life)
	}
}

func TestTokensAreVerified(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	other := filepath.Join(t.TempDir(), "other.key")
	if err := CreateTokenKey(other); err != nil {
		t.Fatal(err)
	}
	past := newFakeClock()
	past.Advance(-3 * time.Hour)
	future := newFakeClock()
	future.Advance(time.Hour)
	claims := func() tokenClaims {
		c := tokenClaims{RegisteredClaims: jwt.RegisteredClaims{Subject: "system:serviceaccount:weft-system:weft-ztunnel",
			Audience: jwt.ClaimStrings{TokenAudience}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}}
		c.Kubernetes.Namespace, c.Kubernetes.ServiceAccount.Name, c.Kubernetes.Node = "weft-system", "weft-ztunnel", &boundObject{Name: "n1"}
		return c
	}
	keyPEM, err := os.ReadFile(r.tokenKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsePrivateKey(keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, key any, change func(*tokenClaims)) string {
		c := claims()
		if change != nil {
			change(&c)
		}
		s, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	pubPEM, err := os.ReadFile(r.tokenKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ token, says string }{
		"none":               {"", "no credentials"},
		"garbage":            {"not-a-token", "malformed"},
		"expired":            {r.token(t, MintOptions{Node: "n1", TTL: time.Hour, Clock: past}), "expired: mint or mount a fresh one"},
		"not yet valid":      {r.token(t, MintOptions{Node: "n1", Clock: future}), "not valid yet"},
		"foreign key":        {r.token(t, MintOptions{Node: "n1", KeyFile: other}), "signed by a key that is not among those that the controller knows"},
		"other audience":     {r.token(t, MintOptions{Node: "n1", Audience: "vault"}), "made for another service"},
		"alg none":           {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "signing method none is invalid"},
		"public key as HMAC": {sign(jwt.SigningMethodHS256, pubPEM, nil), "signing method HS256 is invalid"},
		"no expiry":          {sign(jwt.SigningMethodES256, key, func(c *tokenClaims) { c.ExpiresAt = nil }), "exp claim is required"},
		"subject differs":    {sign(jwt.SigningMethodES256, key, func(c *tokenClaims) { c.Subject = "system:serviceaccount:shop:cart" }), "subject"},
		"no service account": {sign(jwt.SigningMethodES256, key, func(c *tokenClaims) { c.Kubernetes.ServiceAccount.Name = "" }), "bound service-account token"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := createCert(t, r, tc.token, request(t, cart, cart.String()))
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v\nwant Unauthenticated that says %q", err, tc.says)
			}
		})
	}
	if _, err := createCert(t, r, sign(jwt.SigningMethodES256, key, nil), request(t, cart, cart.String())); err != nil {
		t.Errorf("the same token without a fault: %v", err)
	}
}

// A certificate of the mesh proves who calls, but no node.
func TestCallerByCertificate(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	for name, tc := range map[string]struct {
		authority *Authority
		code      codes.Code
	}{
		"of this mesh": {r.authority, codes.OK},
		"self-made":    {openAuthority(t, AuthorityOptions{}), codes.Unavailable}, // the handshake fails
	} {
		t.Run(name, func(t *testing.T) {
			c := mustCert(t, newManager(t, ManagerOptions{Issuer: direct{tc.authority}}), cart)
			conn := dialWith(t, DialOptions{Address: r.address, RootFile: r.rootFile, Server: controller,
				ClientCert: func() (*tls.Certificate, error) { return &c.TLS, nil }})
			_, csr, _ := NewRequest(cart)
			_, err := NewClient(conn, cart).Issue(t.Context(), cart, csr, time.Hour)
			if status.Code(err) != tc.code {
				t.Fatalf("own identity: got %v, want %v", err, tc.code)
			}
			_, err = NewClient(conn, cart).Issue(t.Context(), catalog, csr, time.Hour)
			if err == nil {
				t.Error("a certificate's holder got another identity")
			}
		})
	}
}

func TestDialVerifiesTheController(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	foreign := filepath.Join(t.TempDir(), "foreign.pem")
	if err := os.WriteFile(foreign, openAuthority(t, AuthorityOptions{}).RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		o    DialOptions
		says string
	}{
		"by SPIFFE id":       {DialOptions{RootFile: r.rootFile, Server: controller}, ""},
		"by address":         {DialOptions{RootFile: r.rootFile}, ""},
		"by name":            {DialOptions{RootFile: r.rootFile, ServerName: "weft-controller.weft-system.svc"}, ""},
		"another name":       {DialOptions{RootFile: r.rootFile, ServerName: "bank.example"}, "bank.example"},
		"another identity":   {DialOptions{RootFile: r.rootFile, Server: cart}, "not the expected identity"},
		"of another root":    {DialOptions{RootFile: foreign, Server: controller}, "not signed by a root of this mesh"},
		"root file vanished": {DialOptions{RootFile: filepath.Join(t.TempDir(), "x")}, "read trusted roots"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.o.Address = r.address
			tc.o.TokenFile = filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(tc.o.TokenFile, []byte(r.token(t, MintOptions{Node: "n1"})), 0o600); err != nil {
				t.Fatal(err)
			}
			conn, err := Dial(tc.o)
			if err == nil {
				defer conn.Close()
				_, csr, _ := NewRequest(cart)
				_, err = NewClient(conn, identity.Identity{}).Issue(t.Context(), cart, csr, time.Hour)
			}
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("got %v, want an error that says %q", err, tc.says)
			}
		})
	}
}
