package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/state"
)

// Each replica of the controller is told, for none of them tells the others; where the mesh does not know them,
// the one that this ztunnel is connected to.
func TestEveryReplicaIsTold(t *testing.T) {
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, a.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	z := &ztunnel.Ztunnel{State: state.New("n1")}
	conn := &grpc.ClientConn{}
	r := &healthReporter{c: config{controller: "weft-controller.weft-system.svc.cluster.local:15012", rootCert: root}, z: z, conn: conn,
		log: zap.NewNop(), replicas: map[string]*grpc.ClientConn{}}
	if got := r.targets(); len(got) != 1 || got[0] != conn {
		t.Errorf("%v", got)
	}
	s := &model.Service{Namespace: "weft-system", Hostname: "weft-controller.weft-system.svc.cluster.local", Ports: []model.Port{{ServicePort: 15012, TargetPort: 15012}}}
	pod := func(name, ip string) *model.Workload {
		return &model.Workload{UID: name, Addresses: []netip.Addr{netip.MustParseAddr(ip)}, Services: map[string][]model.Port{s.Key(): s.Ports}}
	}
	z.State.Apply(state.Delta{Services: []*model.Service{s}, Workloads: []*model.Workload{pod("a", "10.0.0.1"), pod("b", "fd00::2")}})
	first := r.targets()
	if len(first) != 2 || r.replicas["10.0.0.1:15012"] == nil || r.replicas["[fd00::2]:15012"] == nil {
		t.Fatalf("%v", r.replicas)
	}
	kept := r.replicas["10.0.0.1:15012"]
	z.State.Apply(state.Delta{RemovedAddresses: []string{"b"}, Workloads: []*model.Workload{pod("c", "10.0.0.3")}})
	if r.targets(); len(r.replicas) != 2 || r.replicas["10.0.0.1:15012"] != kept || r.replicas["10.0.0.3:15012"] == nil {
		t.Errorf("%v", r.replicas)
	}
	z.State.Apply(state.Delta{RemovedAddresses: []string{"a"}})
	if got := r.targets(); len(got) != 1 || got[0] != conn {
		t.Errorf("a single replica is reached as always: %v", got)
	}
}
