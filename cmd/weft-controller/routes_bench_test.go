package main

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/translate"
)

// BenchmarkTenThousandRoutes is what one change costs the controller in a mesh of 1,000 services behind one waypoint
// with 10,000 HTTPRoutes: objects → Snapshot → the waypoint's Envoy. live-MB is the heap with one result kept, which
// has to stay where it is from change to change.
func BenchmarkTenThousandRoutes(b *testing.B) {
	objs := manyRoutes(1000, 10)
	var kept *translate.Resources
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	first := 0.0
	b.ReportAllocs()
	for b.Loop() {
		snap, _ := controller.Compile(objs, controller.Config{})
		if len(snap.Routes) != 10_000 {
			b.Fatalf("%d routes", len(snap.Routes))
		}
		res, problems := translate.Translate(snap, "shop/way", translate.Config{})
		if len(problems) > 0 || len(res.Scopes) != 1000 {
			b.Fatalf("%d scopes, %v", len(res.Scopes), problems)
		}
		if kept = res; first == 0 {
			first = heap()
		}
	}
	b.ReportMetric(heap(), "live-MB")
	b.ReportMetric(first, "live-MB-first")
	runtime.KeepAlive(kept)
}

func manyRoutes(services, each int) *source.Objects {
	objs := &source.Objects{}
	objs.Namespaces = append(objs.Namespaces, sourceOf(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Labels: map[string]string{api.LabelMode: api.ModeAmbient, api.LabelUseWaypoint: "way"},
	}}))
	objs.Gateways = append(objs.Gateways, sourceOf(&gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "way"},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: api.WaypointClass, Listeners: []gatewayv1.Listener{{
			Name: "mesh", Port: api.PortHBONE, Protocol: "HBONE",
		}}},
	}))
	kind := gatewayv1.Kind("Service")
	group := gatewayv1.Group("")
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		objs.Services = append(objs.Services, sourceOf(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), Ports: []corev1.ServicePort{{
				Name: "http", Port: 80,
			}}},
		}))
		for j := range each {
			port := gatewayv1.PortNumber(80)
			path, prefix := fmt.Sprintf("/p%d", j), gatewayv1.PathMatchPathPrefix
			objs.HTTPRoutes = append(objs.HTTPRoutes, sourceOf(&gatewayv1.HTTPRoute{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("%s-%d", name, j)},
				Spec: gatewayv1.HTTPRouteSpec{
					CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Group: &group, Kind: &kind, Name: gatewayv1.ObjectName(name)}}},
					Rules: []gatewayv1.HTTPRouteRule{{
						Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &prefix, Value: &path}}},
						BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
							BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name), Port: &port},
						}}},
					}},
				},
			}))
		}
	}
	return objs
}

func sourceOf[T any](v *T) source.Object[T] { return source.Object[T]{Value: v} }
