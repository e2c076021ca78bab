package conformance

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

const (
	waypointClass = "weft-waypoint"
	waypointName  = "waypoint"
	// waypointReady is how long a waypoint may take from its Gateway to its status Programmed.
	waypointReady = 2 * time.Minute
)

// namespaceLabels are what a person sets to have a namespace in the mesh, behind its waypoint.
var namespaceLabels = map[string]string{
	"weft.dev/dataplane-mode": "ambient",
	"weft.dev/use-waypoint":   waypointName,
}

// makeWaypoints makes the suite's namespaces, a waypoint in each, and waits for them.
func makeWaypoints(t *testing.T, c client.Client, cleanup bool) {
	t.Helper()
	for _, ns := range []string{suite.MeshNamespace, suite.MeshConsumerNamespace} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: namespaceLabels}}
		awaitGone(t, c, ns)
		create(t, c, namespace)
		if cleanup {
			t.Cleanup(func() { _ = c.Delete(context.Background(), namespace) }) // the suite deletes it too, if it gets that far
		}
		create(t, c, &gatewayv1.Gateway{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: waypointName},
			Spec: gatewayv1.GatewaySpec{
				GatewayClassName: waypointClass,
				Listeners:        []gatewayv1.Listener{{Name: "mesh", Port: 15008, Protocol: "HBONE"}},
			},
		})
	}
	for _, ns := range []string{suite.MeshNamespace, suite.MeshConsumerNamespace} {
		var last gatewayv1.Gateway
		err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, waypointReady, true, func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKey{Namespace: ns, Name: waypointName}, &last)
			return err == nil && meta.IsStatusConditionTrue(last.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed)), nil
		})
		if err != nil {
			t.Fatalf("the waypoint of namespace %s is not programmed after %v; its status: %+v", ns, waypointReady, last.Status)
		}
	}
}

// awaitGone waits for a namespace that an earlier run is still deleting.
func awaitGone(t *testing.T, c client.Client, name string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, waypointReady, true, func(ctx context.Context) (bool, error) {
		var ns corev1.Namespace
		err := c.Get(ctx, client.ObjectKey{Name: name}, &ns)
		return apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp == nil, nil
	})
	if err != nil {
		t.Fatalf("namespace %s is being deleted for %v: what holds it? kubectl get namespace %s -o yaml", name, waypointReady, name)
	}
}

// create makes an object and leaves one alone that is there, of a run that was cut off.
func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}
