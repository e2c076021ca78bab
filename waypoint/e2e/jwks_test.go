package e2e

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// keyServer is an identity provider's address of keys.
type keyServer struct {
	mu   sync.Mutex // protects what follows
	body []byte     // nil: it is down
	hits int
}

func (k *keyServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hits++
	if k.body == nil {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
		return
	}
	_, _ = w.Write(k.body)
}

func (k *keyServer) serve(body []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.body = body
}

func (k *keyServer) asked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hits
}

// published is what a provider serves: keys as it has them, and one of a kind that Envoy does not take.
func published(t *testing.T, signers ...*signer) []byte {
	t.Helper()
	set := map[string][]any{"keys": {map[string]any{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "odd"}}}
	for _, s := range signers {
		set["keys"] = append(set["keys"], jose.JSONWebKey{Key: s.key.Public(), KeyID: s.kid, Algorithm: s.alg.Alg(), Use: "sig"})
	}
	out, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Keys at an address, by the programs as they are shipped: an HTTPS server, weft-controller that fetches, a waypoint's
// Envoy. Before the first fetch nobody is let in; keys rotate without a restart; a server that is down or talks
// nonsense takes nothing away, nor does a restart of the controller meanwhile, and the status says so.
func TestKeysAreFetched(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	keys := &keyServer{}
	srv := httptest.NewTLSServer(keys)
	t.Cleanup(srv.Close)
	first, second := newRSA(t, "one"), newEC(t, "two")
	p := startShipped(t)
	pod := testmesh.StartPodTLS(t, "api", netip.MustParseAddr("127.0.9.1"), 0, nil)
	p.write("api", outsideManifest("api", "10.96.0.7", netip.AddrPortFrom(pod.Addr, testmesh.HTTPPort), "wp"))
	hc := p.client.HTTP(t, "10.96.0.7:80")
	p.answers(hc, 200)
	roots := strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})), "\n", "\n        ")
	login := fmt.Sprintf(`
apiVersion: weft.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: login, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: api}]
  required: true
  providers:
  - issuer: %s
    audiences: [shop]
    jwks:
      uri: %s/keys
      refresh: 10s
      caCertificates: |
        %s
`, idp, srv.URL, roots)
	p.write("login", login)

	p.answers(hc, 401, bearer(first.token(nil))...) // never fetched
	p.saysOf("RequestAuthentication", "shop/login", "NoKeys")

	keys.serve(published(t, first))
	p.answers(hc, 200, bearer(first.token(nil))...)
	p.answers(hc, 401, bearer(second.token(nil))...)
	p.answers(hc, 401)
	p.saysOf("RequestAuthentication", "shop/login", "the policy is understood")

	keys.serve(published(t, first, second)) // a new key beside the old
	p.answers(hc, 200, bearer(second.token(nil))...)
	p.answers(hc, 200, bearer(first.token(nil))...)

	for what, bad := range map[string][]byte{"down": nil, "nonsense": []byte("<html>")} {
		before := keys.asked()
		keys.serve(bad)
		testmesh.Eventually(t, time.Minute, what+" was seen", func() error {
			if keys.asked() <= before {
				return errors.New("not asked")
			}
			return nil
		})
		p.saysOf("RequestAuthentication", "shop/login", "the last keys stay in force")
		for _, s := range []*signer{first, second} {
			if code, _, _, err := ask(hc, "GET", "/", bearer(s.token(nil))...); err != nil || code != 200 {
				t.Errorf("%s: key %s is answered %d, %v", what, s.kid, code, err)
			}
		}
	}
	keys.serve(published(t, second)) // the old one is withdrawn
	p.answers(hc, 401, bearer(first.token(nil))...)
	p.answers(hc, 200, bearer(second.token(nil))...)

	// Another controller, while the server is down: what this one fetched is in force there, also in what is new.
	keys.serve(nil)
	p.stop()
	p.write("login", strings.Replace(login, "[shop]", "[shop, other]", 1))
	p.controller()
	p.saysOf("RequestAuthentication", "shop/login", "the last keys stay in force")
	p.answers(hc, 200, bearer(second.token(map[string]any{"aud": "other"}))...)
	p.answers(hc, 401, bearer(first.token(nil))...)
}
