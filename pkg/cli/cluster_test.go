package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// Two nodes as their kubelets would describe them, and who runs there. Nothing runs really: what needs
// programs that answer is in e2e/kube.
const bareCluster = `
apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  nodeInfo: {operatingSystem: linux, kernelVersion: 6.8.0, machineID: "", systemUUID: "", bootID: "", osImage: "", containerRuntimeVersion: "", kubeletVersion: "", kubeProxyVersion: "", architecture: amd64}
  conditions: [{type: Ready, status: "True", reason: KubeletReady}]
---
apiVersion: v1
kind: Namespace
metadata: {name: typo, labels: {weft.dev/dataplane_mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: gates}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, annotations: {weft.dev/redirection: enabled, example.com/note: annotation-secret}}
spec:
  nodeName: n1
  containers:
    - name: app
      image: example.com/app
      args: [--password, args-secret]
      env: [{name: DB, value: env-secret}]
      livenessProbe: {httpGet: {path: /live, port: 80, httpHeaders: [{name: Authorization, value: header-secret}]}}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: object-secret}
---
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: gates, labels: {weft.dev/use-waypoint: used}}
spec: {ports: [{port: 80}]}
`

// agentPod stands for an installed Weft.
const agentPod = `
apiVersion: v1
kind: Namespace
metadata: {name: weft-system}
---
apiVersion: v1
kind: Pod
metadata: {name: weft-agent-x, namespace: weft-system}
spec: {nodeName: n1, serviceAccountName: weft-agent, containers: [{name: weft-agent, image: "example.com/weft-agent:v1"}]}
status:
  phase: Running
  containerStatuses: [{name: weft-agent, image: "", imageID: "", ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}}]
`

// What a person types at a cluster, against a real API server: first without Weft, then with it.
func TestClusterScripts(t *testing.T) {
	server := kubetest.Start(t)
	server.InstallGatewayAPI("standard")
	server.Apply(bareCluster)
	kubeconfig := server.Kubeconfig()
	run := func(dir string) {
		t.Run(dir, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: "testdata/cluster/" + dir, RequireExplicitExec: true,
				Setup: func(e *testscript.Env) error {
					e.Setenv("KUBECONFIG", kubeconfig)
					e.Setenv("HOME", e.WorkDir)
					e.Setenv("WEFT_TARGET", "cluster")
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "unpack": unpack},
			})
		})
	}
	run("bare")
	server.Apply(agentPod)
	run("installed")
	server.Apply(rootSecret(t))
	run("release")
}

// rootSecret is what the controller makes when it starts for the first time.
func rootSecret(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := ca.CreateRoot(dir, "cluster.local", time.Now()); err != nil {
		t.Fatal(err)
	}
	s := corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Data: map[string][]byte{}}
	s.Namespace, s.Name = api.SystemNamespace, "weft-ca"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries {
		if s.Data[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.YAML(s)
}
