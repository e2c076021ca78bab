package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	cached "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

const refusedWorld = `
apiVersion: v1
kind: Namespace
metadata: {name: abroad}
---
apiVersion: v1
kind: Service
metadata: {name: secrets, namespace: abroad}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop, labels: {weft.dev/use-waypoint: way}}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop, labels: {weft.dev/use-waypoint: way}}
spec: {ports: [{port: 5432, name: tcp-db}]}
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: older, namespace: shop}
spec: {targetRefs: [{kind: Service, name: cart}], timeouts: {request: 1s}}
---
apiVersion: weft.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: first, namespace: shop}
spec: {mtls: {mode: STRICT}}
`

// What the API server takes and the controller cannot do is refused in status, for the reason that testdata/refused.yaml
// gives. How long that takes from the request to apply it until a watcher sees the condition is printed, and asserted
// nowhere; WEFT_ROUNDS says how often each is measured (default once).
func TestRefusedInStatus(t *testing.T) {
	rounds := 1
	if s := os.Getenv("WEFT_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatalf("WEFT_ROUNDS: %v", err)
		}
	}
	b := newCluster(t)
	b.start()
	b.api.Apply(gatewayYAML, cartYAML, refusedWorld)
	eventually(t, "the service has its waypoint", func() bool { return strings.HasPrefix(b.condition(cartYAML, "weft.dev/WaypointBound"), "True/") })
	// Of two objects of the same second the names decide which is older.
	started := time.Now()
	eventually(t, "the world is older than what comes", func() bool { return time.Since(started) > 1500*time.Millisecond })
	c := b.clients()
	all := objectsOf(t, "testdata/refused.yaml")
	var one, together []took
	for range rounds {
		for _, u := range all {
			one = append(one, took{c.refused(t, u), u.GetKind() + " " + u.GetName()})
		}
		together = append(together, c.refusedTogether(t, all)...)
	}
	t.Logf("from apply to the refusal in status, %d kinds of input, %d times each: one after the other %s; all at once %s", len(all), rounds, summary(one), summary(together))
}

// took is how long an object's refusal took.
type took struct {
	d  time.Duration
	of string
}

func summary(all []took) string {
	slices.SortFunc(all, func(a, b took) int { return cmp.Compare(a.d, b.d) })
	at := func(share float64) took { return all[min(len(all)-1, int(share*float64(len(all))))] }
	last := at(1)
	return fmt.Sprintf("p50 %s, p99 %s, worst %s (%s)", at(0.5).d.Round(time.Millisecond), at(0.99).d.Round(time.Millisecond), last.d.Round(time.Millisecond), last.of)
}

// refusedTogether applies all objects at the same moment.
func (c clients) refusedTogether(t *testing.T, all []*unstructured.Unstructured) []took {
	out := make([]took, len(all))
	var wg sync.WaitGroup
	for i, u := range all {
		wg.Go(func() { out[i] = took{c.refused(t, u), u.GetKind() + " " + u.GetName()} })
	}
	wg.Wait()
	return out
}

// objectsOf reads a file of objects, and puts them into namespace shop.
func objectsOf(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		u.SetNamespace("shop")
		out = append(out, u)
	}
}

// clients know all resources, so that nothing but a request is measured.
type clients struct {
	dynamic *dynamic.DynamicClient
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func (b *onCluster) clients() clients {
	b.t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(b.api.Config())
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := dynamic.NewForConfig(b.api.Config())
	if err != nil {
		b.t.Fatal(err)
	}
	return clients{c, restmapper.NewDeferredDiscoveryRESTMapper(cached.NewMemCacheClient(d))}
}

func (c clients) of(t *testing.T, u *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	m, err := c.mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
	if err != nil {
		t.Fatal(err)
	}
	return c.dynamic.Resource(m.Resource).Namespace(u.GetNamespace())
}

// refused applies an object, waits until its status refuses it for the reason that it wants, and deletes it.
func (c clients) refused(t *testing.T, u *unstructured.Unstructured) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, want := c.of(t, u), u.GetAnnotations()["want"]
	w, err := r.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + u.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	defer func() { _ = r.Delete(t.Context(), u.GetName(), metav1.DeleteOptions{}) }()
	start := time.Now()
	if _, err := r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: "person"}); err != nil {
		t.Errorf("%s %s is refused at once: %v", u.GetKind(), u.GetName(), err)
		return 0
	}
	var last []string
	for e := range w.ResultChan() {
		got, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		last = conditionsOf(got)
		if slices.Contains(last, want) {
			return time.Since(start)
		}
	}
	t.Errorf("%s %s never was refused as %s: its status is %v", u.GetKind(), u.GetName(), want, last)
	return 0
}

// conditionsOf lists type=status/reason.
func conditionsOf(u *unstructured.Unstructured) []string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	parents, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	for _, p := range parents {
		more, _, _ := unstructured.NestedSlice(p.(map[string]any), "conditions")
		list = append(list, more...)
	}
	var out []string
	for _, c := range list {
		m := c.(map[string]any)
		out = append(out, m["type"].(string)+"="+m["status"].(string)+"/"+m["reason"].(string))
	}
	return out
}
