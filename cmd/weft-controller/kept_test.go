package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/pkg/jwks"
)

const issuerKeys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"kept","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

const loginYAML = `
apiVersion: weft.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: login, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  providers: [{issuer: idp, jwks: {uri: "%s"}}]
`

// issuer serves keys until it is down.
func issuer(t *testing.T) (uri string, down *atomic.Bool) {
	down = &atomic.Bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(issuerKeys))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, down
}

// Keys that were fetched are in force after a restart while their server is down, and the status says what is the matter.
func TestKeysOutliveAController(t *testing.T) {
	b := newBench(t)
	uri, down := issuer(t)
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, ", labels: {weft.dev/use-waypoint: way}"))
	b.write("src/login.yaml", fmt.Sprintf(loginYAML, uri))
	_, stop := b.start()
	eventually(t, "keys are fetched", func() bool { return strings.Contains(b.page("/debug/snapshot"), "f83OJ3D2") })
	eventually(t, "and kept", func() bool {
		all, err := keysInFolder(b.c.stateDir + "/jwks").load(t.Context())
		return err == nil && len(all) == 1
	})
	stop()
	down.Store(true)
	b.start()
	eventually(t, "the failure is told", func() bool {
		for _, p := range b.status("RequestAuthentication", "shop", "login").Problems {
			if strings.Contains(p.Message, "the last keys stay in force") {
				return true
			}
		}
		return false
	})
	if !strings.Contains(b.page("/debug/snapshot"), "f83OJ3D2") {
		t.Error("the keys are gone")
	}
}

// keysOnCluster does the same in a cluster, where the Secret of the chart keeps them for every replica.
func keysOnCluster(t *testing.T, b *onCluster) {
	uri, down := issuer(t)
	b.api.Apply("apiVersion: v1\nkind: Secret\nmetadata: {name: weft-jwks, namespace: weft-system}\ntype: Opaque\n", fmt.Sprintf(loginYAML, uri))
	eventually(t, "keys are fetched", func() bool { return strings.Contains(b.page("/debug/snapshot"), "f83OJ3D2") })
	eventually(t, "and kept", func() bool {
		s, err := b.client().CoreV1().Secrets("weft-system").Get(t.Context(), keysSecret, metav1.GetOptions{})
		return err == nil && len(s.Data) == 1
	})
	down.Store(true)
	other := b.replica("two")
	other.start()
	eventually(t, "another replica has them", func() bool { return strings.Contains(other.page("/debug/snapshot"), "f83OJ3D2") })
}

// The Secret takes as much as it can hold: what is too old goes first, then the oldest.
func TestKeptKeysAreBounded(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: keysSecret, Namespace: "weft-system"}})
	s, now := &keysInSecret{client: client}, time.Now().UTC()
	keep := func(name string, age time.Duration, size int) {
		t.Helper()
		if err := s.keep(context.Background(), name, jwks.Kept{URI: "https://" + name, Fetched: now.Add(-age), Keys: strings.Repeat("k", size)}); err != nil {
			t.Fatal(err)
		}
	}
	keep("ancient", jwks.MaxAge+time.Minute, 10)
	for i := range 6 {
		keep(fmt.Sprint("set", i), time.Duration(10-i)*time.Hour, jwks.MaxBytes-1024)
	}
	all, err := s.load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, k := range all {
		size += len(k.Keys)
	}
	if size > keysSize || len(all) != 3 || all["set5"].Keys == "" || all["set3"].Keys == "" || all["ancient"].URI != "" {
		t.Errorf("%d sets of %d bytes are left", len(all), size)
	}
}
