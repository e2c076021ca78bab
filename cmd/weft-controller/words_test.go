package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/verdict"
)

const replicaPodYAML = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: weft-system}\nspec: {nodeName: n1, containers: [{name: controller, image: controller}]}\n"

// hearing is two controllers of one cluster, with the rights that the chart gives them.
type hearing struct {
	t *testing.T
	*onCluster
	bad atomic.Int64 // the limit that Envoys refuse, as they do the port 99
	bs  map[string]*bench
	at  map[string]string
	end map[string]func()
}

func newHearing(t *testing.T) *hearing {
	t.Helper()
	h := &hearing{t: t, onCluster: newCluster(t), bs: map[string]*bench{}, at: map[string]string{}, end: map[string]func(){}}
	h.bad.Store(13)
	data, err := os.ReadFile("../../charts/testdata/golden/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(data), "\n---\n") {
		if strings.Contains(doc, "# Source: weft/templates/controller-rbac.yaml") {
			h.api.Apply(doc)
		}
	}
	h.c.kubeconfig, h.c.taintNodes, h.c.prune, h.c.lease = h.kubeconfig(), false, 10*time.Second, 15*time.Second
	h.api.Apply(gatewayYAML, cartYAML)
	h.start("one")
	h.start("two")
	t.Cleanup(func() {
		if t.Failed() {
			for name, b := range h.bs {
				t.Log(name, leads(b), b.status("EnvoyPatch", "shop", "limit"), fmt.Sprintf("%+v", h.said(name)))
			}
		}
	})
	eventually(t, "one leads", func() bool { return leads(h.bs["one"]) != leads(h.bs["two"]) })
	return h
}

// kubeconfig is that of the controller's own account.
func (h *hearing) kubeconfig() string {
	h.t.Helper()
	token := h.request("weft-system", "weft-controller", authenticationv1.TokenRequestSpec{})
	c := h.api.Config()
	file := filepath.Join(h.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"c": {Server: c.Host, CertificateAuthorityData: c.CAData, CertificateAuthority: c.CAFile, InsecureSkipTLSVerify: c.Insecure}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"c": {Token: token}},
		Contexts:  map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "c"}}, CurrentContext: "c",
	}, file); err != nil {
		h.t.Fatal(err)
	}
	return file
}

func (h *hearing) start(name string) {
	h.t.Helper()
	h.api.Apply(fmt.Sprintf(replicaPodYAML, name))
	h.bs[name] = h.replica(name)
	h.at[name], h.end[name] = h.bs[name].start()
	eventually(h.t, name+" has read everything", func() bool { return h.bs[name].page("/ready") != "" })
}

// stop ends a replica, and its pod with it.
func (h *hearing) stop(name string) {
	h.t.Helper()
	h.end[name]()
	h.api.Delete(fmt.Sprintf(replicaPodYAML, name))
	delete(h.bs, name)
}

// roles are who writes and another one.
func (h *hearing) roles() (writer, other string) {
	if leads(h.bs["one"]) {
		return "one", "two"
	}
	return "two", "one"
}

// connect is a pod of the waypoint that answers until the returned function is called.
func (h *hearing) connect(to string) (disconnect func()) {
	h.t.Helper()
	const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: way, namespace: shop}\n"
	eventually(h.t, "the waypoint has an account", func() bool { return h.api.Get(account) != nil })
	e := h.bs[to].envoyBy(h.bs[to].dialWith(h.at[to], h.token("shop", "way", ca.TokenAudience)))
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				_ = e.stream.CloseSend()
				return
			case r := <-e.got:
				_ = e.stream.Send(h.answer(r)) // it fails where the replica has ended
			}
		}
	}()
	disconnect = func() { cancel(); <-done }
	h.t.Cleanup(disconnect)
	return disconnect
}

// answer is that of a waypoint that cannot bear one limit, nor the port 99.
func (h *hearing) answer(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	out := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	for _, res := range r.GetResources() {
		c := &clusterv3.Cluster{}
		if res.GetResource().UnmarshalTo(c) != nil {
			continue
		}
		if int64(c.GetPerConnectionBufferLimitBytes().GetValue()) == h.bad.Load() || strings.Contains(c.GetName(), ":99") {
			out.ErrorDetail = &status.Status{Code: 3, Message: "cluster " + c.GetName() + ": not with this"}
		}
	}
	return out
}

func (h *hearing) patch(limit int) { h.api.Apply(fmt.Sprintf(patchYAML, limit)) }

// enforced waits until the API server says it of the patch as it is now, and all replicas do.
func (h *hearing) enforced(when, want string) {
	h.t.Helper()
	patch := fmt.Sprintf(patchYAML, 1)
	eventually(h.t, when+": the patch is "+want, func() bool {
		u := h.api.Get(patch)
		for _, b := range h.bs {
			s := b.status("EnvoyPatch", "shop", "limit")
			said := ""
			for _, c := range s.Conditions {
				if c.Type == "Enforced" && c.ObservedGeneration == u.GetGeneration() {
					said = c.Status + "/" + c.Reason
				}
			}
			if said != want {
				return false
			}
		}
		return h.condition(patch, "Enforced") == want
	})
}

// neverWrong watches that no status says of a version that Envoys refuse that it is in force, nor does for a moment.
func (h *hearing) neverWrong() {
	h.t.Helper()
	client, err := dynamic.NewForConfig(h.api.Config())
	if err != nil {
		h.t.Fatal(err)
	}
	patches, ctx := client.Resource(api.GroupVersion.WithResource("envoypatches")).Namespace("shop"), h.t.Context()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w, err := patches.Watch(ctx, metav1.ListOptions{})
			if err != nil {
				time.Sleep(50 * time.Millisecond) // the API server is away
				continue
			}
			for e := range w.ResultChan() {
				if u, ok := e.Object.(*unstructured.Unstructured); ok {
					h.notInForce(u)
				}
			}
		}
	}()
	h.t.Cleanup(func() { <-done })
}

func (h *hearing) notInForce(patch *unstructured.Unstructured) {
	spec, _, _ := unstructured.NestedMap(patch.Object, "spec")
	list, _, _ := unstructured.NestedSlice(patch.Object, "status", "conditions")
	for _, c := range list {
		c := c.(map[string]any)
		if c["type"] == "Enforced" && c["status"] == "True" && c["observedGeneration"] == patch.GetGeneration() && strings.Contains(fmt.Sprint(spec), "value:13") {
			h.t.Errorf("it is said to be in force what is refused: %v", c)
		}
	}
}

// said is what a replica has put into the record.
func (h *hearing) said(replica string) verdict.Word {
	m, err := h.client().CoreV1().ConfigMaps(api.SystemNamespace).Get(context.Background(), cluster.RecordName, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	words, err := verdict.Decode(m.Data[replica])
	if err != nil {
		h.t.Fatal(err)
	}
	return words["shop/way"]
}

// write puts something into the record in a replica's name.
func (h *hearing) write(replica string, w verdict.Word) {
	h.t.Helper()
	patch := fmt.Sprintf(`{"data":{%q:%q}}`, replica, verdict.Encode(map[string]verdict.Word{"shop/way": w}))
	if _, err := h.client().CoreV1().ConfigMaps(api.SystemNamespace).Patch(h.t.Context(), cluster.RecordName, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// What a waypoint refuses is in the status although the replica that writes it is not the one that the waypoint is
// connected to. The parts run in order.
func TestRefusalsReachTheWriter(t *testing.T) {
	h := newHearing(t)
	h.neverWrong()
	first, other := h.roles()
	h.patch(4096)
	h.enforced("nobody is connected", "False/Untried")
	disconnect := h.connect(other)
	h.enforced("accepted at the other", "True/Enforced")
	t.Run("a patch", func(t *testing.T) {
		h.patch(13)
		h.enforced("refused at the other", "False/RefusedByWaypoint")
		h.patch(14)
		h.enforced("mended", "True/Enforced")
	})
	t.Run("a service", func(t *testing.T) {
		h.api.Apply(strings.Replace(cartYAML, "port: 80", "port: 99", 1))
		eventually(t, "it is refused", func() bool { return h.condition(cartYAML, "weft.dev/Programmed") == "False/RefusedByWaypoint" })
		h.api.Apply(cartYAML)
		eventually(t, "it is mended", func() bool { return h.condition(cartYAML, "weft.dev/Programmed") == "no condition" })
		h.enforced("beside it", "True/Enforced")
	})
	t.Run("a replica that is gone", func(t *testing.T) { h.ghost(t, other) })
	t.Run("the record is gone", func(t *testing.T) { h.noRecord(t, other) })
	t.Run("both are connected", func(t *testing.T) {
		disconnect := h.connect(first)
		eventually(t, "both have said so", func() bool { return h.said(first).Heard && h.said(other).Heard })
		h.patch(13)
		h.enforced("refused at both", "False/RefusedByWaypoint")
		disconnect()
	})
	t.Run("the waypoint moves to the writer", func(t *testing.T) {
		disconnect()
		writer, _ := h.roles()
		h.connect(writer)
		h.enforced("refused there too", "False/RefusedByWaypoint")
		h.patch(15)
		h.enforced("accepted there", "True/Enforced")
	})
	t.Run("the writer ends", func(t *testing.T) {
		writer, other := h.roles()
		h.stop(writer)
		eventually(t, "the other leads", func() bool { return leads(h.bs[other]) })
		eventually(t, "what it said is gone", func() bool { return len(h.said(writer).Accepted) == 0 })
		h.enforced("nothing has changed since", "True/Enforced")
		h.patch(16)
		h.enforced("nobody has tried this one", "False/Untried")
		h.connect(other)
		h.enforced("its waypoint has come", "True/Enforced")
		h.start("three")
		h.patch(13)
		h.enforced("refused there", "False/RefusedByWaypoint")
		h.stop(other)
		eventually(t, "the third leads", func() bool { return leads(h.bs["three"]) })
		eventually(t, "what the second said is gone", func() bool { return len(h.said(other).Refused) == 0 })
		h.enforced("as far as anybody knows", "False/RefusedByWaypoint")
		h.connect("three")
		eventually(t, "its waypoint has come again", func() bool { return h.said("three").Heard })
		h.enforced("refused as before", "False/RefusedByWaypoint")
	})
}

// Where several waypoints speak of an object, what one refuses counts more than what another has not tried yet; a route
// says so at its parents.
func TestRefusedCountsMore(t *testing.T) {
	patch := translate.Source{Kind: translate.KindPatch, Namespace: "shop", Name: "limit"}
	route := translate.Source{Kind: "HTTPRoute", Namespace: "shop", Name: "cart"}
	all := reports([]controller.Status{
		{Kind: patch.Kind, Namespace: "shop", Name: "limit", Conditions: []metav1.Condition{{Type: "Enforced", Status: metav1.ConditionTrue}}},
		{Kind: route.Kind, Namespace: "shop", Name: "cart", Parents: make([]gatewayv1.RouteParentStatus, 1)},
	}, nil, map[string][]translate.Problem{
		"shop/a": {{Source: patch, Message: "no"}, {Source: route, Message: "never"}},
		"shop/b": {{Source: patch, Message: "not yet", Waiting: true}, {Source: route, Message: "not yet", Waiting: true}},
	})
	want := map[string]string{
		"EnvoyPatch": "Enforced RefusedByWaypoint waypoint shop/a: no, Programmed RefusedByWaypoint waypoint shop/a: no",
		"HTTPRoute":  "Programmed RefusedByWaypoint waypoint shop/a: never, weft.dev/Programmed RefusedByWaypoint waypoint shop/a: never",
	}
	for _, r := range all {
		var got []string
		for _, c := range r.Conditions {
			got = append(got, c.Type+" "+c.Reason+" "+c.Message)
		}
		for _, p := range r.Parents {
			for _, c := range p.Conditions {
				got = append(got, c.Type+" "+c.Reason+" "+c.Message)
			}
		}
		if strings.Join(got, ", ") != want[r.Kind] || len(r.Problems) != 1 {
			t.Errorf("%s: %q, with %d problems", r.Kind, got, len(r.Problems))
		}
	}
}

// ghost: what a replica said counts as long as its pod is there, and is taken out after it.
func (h *hearing) ghost(t *testing.T, connected string) {
	src := translate.Source{Kind: translate.KindPatch, Namespace: "shop", Name: "limit"}
	var version string
	eventually(t, "the acceptance is in the record", func() bool {
		said := h.said(connected).Accepted
		if len(said) == 1 {
			version = said[0].Version
		}
		return len(said) == 1
	})
	h.api.Apply(fmt.Sprintf(replicaPodYAML, "ghost"))
	h.write("ghost", verdict.Word{Heard: true, Refused: []verdict.Verdict{{Source: src, Version: version, Words: "not here"}}})
	h.enforced("refused at a third", "False/RefusedByWaypoint")
	h.api.Delete(fmt.Sprintf(replicaPodYAML, "ghost"))
	h.enforced("the third is gone", "True/Enforced")
	eventually(t, "its word is taken out", func() bool { return !h.said("ghost").Heard })
}

// noRecord: without the record the writer does not know, and says so; what it knew stays.
func (h *hearing) noRecord(t *testing.T, connected string) {
	const record = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: weft-refusals, namespace: weft-system}\n"
	behind := func(want string) func() bool {
		return func() bool {
			for _, b := range h.bs {
				if !strings.Contains(b.page("/metrics"), "\nweft_controller_record_behind "+want+"\n") {
					return false
				}
			}
			return true
		}
	}
	h.api.Delete(record)
	eventually(t, "both miss it", behind("1"))
	h.patch(20)
	enforced := func(replica, want string) func() bool {
		return func() bool {
			return slices.ContainsFunc(h.bs[replica].status("EnvoyPatch", "shop", "limit").Conditions, func(c condition) bool {
				return c.Type == "Enforced" && c.Status+"/"+c.Reason == want && c.ObservedGeneration == h.api.Get(fmt.Sprintf(patchYAML, 1)).GetGeneration()
			})
		}
	}
	eventually(t, "who hears it knows", enforced(connected, "True/Enforced"))
	eventually(t, "who does not says so", func() bool {
		for replica := range h.bs {
			if replica != connected && !enforced(replica, "False/Untried")() {
				return false
			}
		}
		return true
	})
	h.api.Apply(record)
	eventually(t, "both find it again", behind("0"))
	h.enforced("told again", "True/Enforced")
	h.api.Stop()
	eventually(t, "both miss the API server", behind("1"))
	h.api.Resume()
	h.api.WaitReady()
	eventually(t, "both reach it again", behind("0"))
	h.patch(21)
	h.enforced("after that", "True/Enforced")
	eventually(t, "one leads again", func() bool { return leads(h.bs["one"]) != leads(h.bs["two"]) })
}
