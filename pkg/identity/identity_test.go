package identity

import (
	"crypto/x509"
	"errors"
	"net/url"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Identity
		bad  bool
	}{
		{in: "spiffe://cluster.local/ns/shop/sa/cart", want: Identity{"cluster.local", "shop", "cart"}},
		{in: "spiffe://other.example/ns/a/sa/b", want: Identity{"other.example", "a", "b"}},
		{in: "", bad: true},
		{in: "https://cluster.local/ns/shop/sa/cart", bad: true},
		{in: "spiffe://cluster.local", bad: true},
		{in: "spiffe://cluster.local/ns/shop", bad: true},
		{in: "spiffe://cluster.local/ns//sa/cart", bad: true},
		{in: "spiffe://cluster.local/ns/shop/sa/cart/extra", bad: true},
		{in: "spiffe://cluster.local/sa/cart/ns/shop", bad: true},
		{in: "spiffe://cluster.local/ns/../sa/cart", bad: true},
		{in: "spiffe://CLUSTER.local/ns/shop/sa/cart", bad: true},
		{in: "spiffe://cluster.local/ns/shop/sa/cart?x=1", bad: true},
	} {
		got, err := Parse(tc.in)
		if tc.bad {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("Parse(%q) = %v, %v; want ErrInvalid", tc.in, got, err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("Parse(%q) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
		if got.String() != tc.in || got.URL().String() != tc.in {
			t.Errorf("%q does not round-trip: %q, %q", tc.in, got.String(), got.URL())
		}
	}
}

func TestFromCertificateWantsExactlyOneURI(t *testing.T) {
	u, _ := url.Parse("spiffe://cluster.local/ns/shop/sa/cart")
	if id, err := FromCertificate(&x509.Certificate{URIs: []*url.URL{u}}); err != nil || id.ServiceAccount != "cart" {
		t.Errorf("one URI: %v, %v", id, err)
	}
	for _, c := range []*x509.Certificate{nil, {}, {URIs: []*url.URL{u, u}}} {
		if id, err := FromCertificate(c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: got %v, %v; want ErrInvalid", c, id, err)
		}
	}
}

func TestZero(t *testing.T) {
	var id Identity
	if !id.IsZero() || id.String() != "" || id.Principal() != "" {
		t.Errorf("zero identity shows as %q / %q", id.String(), id.Principal())
	}
}
