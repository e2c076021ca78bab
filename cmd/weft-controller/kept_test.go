package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
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
		all, err := keysInFolder(b.c.stateDir + "/jwks").read(t.Context())
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

// keysInMemory is a store without an API server.
type keysInMemory map[string][]byte

func (m keysInMemory) read(context.Context) (map[string][]byte, error) { return maps.Clone(m), nil }

func (m keysInMemory) write(_ context.Context, entries map[string][]byte) error {
	maps.Copy(m, entries)
	maps.DeleteFunc(m, func(_ string, data []byte) bool { return data == nil })
	return nil
}

func keeperOf(store keyStore) *keyKeeper {
	k := newKeyKeeper(store, zap.NewNop())
	k.now = func() time.Time { return keptAt }
	return k
}

var keptAt = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// ofNamespace is a set of some size that was fetched some time ago for namespaces.
func ofNamespace(age time.Duration, size int, namespaces ...string) jwks.Kept {
	return jwks.Kept{URI: "https://idp", Fetched: keptAt.Add(-age), Keys: strings.Repeat("k", size), For: namespaces}
}

// What is kept after sets were written one after the other.
func keptAfter(t *testing.T, k *keyKeeper, names []string, sets map[string]jwks.Kept) map[string]jwks.Kept {
	t.Helper()
	for _, name := range names {
		if err := k.put(t.Context(), map[string]jwks.Kept{name: sets[name]}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := k.store.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, data := range entries {
		size += len(data)
	}
	if size > keysRoom {
		t.Errorf("%d bytes are kept", size)
	}
	out, bad := decodeKept(entries)
	if len(bad) > 0 {
		t.Errorf("garbage is kept: %q", bad)
	}
	return out
}

// Nobody pushes out what another namespace needs, however many sets he asks for, and if he asks for the other's, too.
func TestKeptKeysAreShared(t *testing.T) {
	sets := map[string]jwks.Kept{"old": ofNamespace(20*time.Hour, 10_000, "shop"), "common": ofNamespace(21*time.Hour, 10_000, "bad", "shop")}
	names := []string{"old", "common"}
	for i := range 40 {
		name := fmt.Sprintf("bad%02d", i)
		sets[name] = ofNamespace(time.Duration(40-i)*time.Minute, 60_000, "bad")
		names = append(names, name)
	}
	k := keeperOf(keysInMemory{})
	all := keptAfter(t, k, names, sets)
	for _, name := range []string{"old", "common", "bad39"} {
		if all[name].Keys == "" {
			t.Errorf("%s is not kept", name)
		}
	}
	if len(all) != 2+12 || all["bad00"].Keys != "" { // 12 of 60,000 bytes fit
		t.Errorf("%d sets are kept", len(all))
	}
}

// What is too old, too large or garbage makes room, and what has to be escaped is counted as it is stored.
func TestKeptKeysAreBounded(t *testing.T) {
	k := keeperOf(keysInMemory{"garbage": []byte("{" + strings.Repeat("x", 700<<10)), "list": []byte(`["keys"]`)})
	quotes := ofNamespace(time.Minute, 0, "bad")
	quotes.Keys = strings.Repeat(`"`, 30_000) // twice as long when it is written
	sets := map[string]jwks.Kept{
		"ancient": ofNamespace(jwks.MaxAge+time.Minute, 10, "shop"),
		"large":   ofNamespace(0, keysSetRoom, "shop"),
		"small":   ofNamespace(time.Hour, 10, "shop"),
	}
	names := []string{"ancient", "small", "large"}
	for i := range 30 {
		name := fmt.Sprintf("quotes%02d", i)
		sets[name], names = quotes, append(names, name)
	}
	all := keptAfter(t, k, names, sets)
	if len(all) != 1+13 || all["small"].Keys == "" {
		t.Errorf("%d sets are kept", len(all))
	}
}

// slowStore answers nothing until its caller gives up, as often as it is told.
type slowStore struct {
	keyStore
	hangs atomic.Int32
}

func (s *slowStore) write(ctx context.Context, entries map[string][]byte) error {
	if s.hangs.Add(-1) >= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.keyStore.write(ctx, entries)
}

// A store that hangs holds up nobody who fetches, and what it did not take is written together when it answers again.
func TestKeepingWaitsForNobody(t *testing.T) {
	store := keysInSecret{fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: keysSecret, Namespace: "weft-system"}})}
	slow := &slowStore{keyStore: store}
	slow.hangs.Store(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	k := keeperOf(slow)
	k.timeout, k.retry = 50*time.Millisecond, time.Millisecond
	for i := range 100 {
		k.keep(fmt.Sprint("set", i), ofNamespace(0, 10, "shop")) // nobody runs: it would wait for ever if it waited
	}
	go k.run(ctx)
	eventually(t, "all are kept", func() bool {
		entries, err := store.read(t.Context())
		return err == nil && len(entries) == 100
	})
}
