package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/ztunnel/state"
)

// strict is a CA that signs only once it knows the pod.
type strict struct {
	*ca.Authority
	knows   atomic.Bool
	refused atomic.Int32
}

func (s *strict) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	if !s.knows.Load() {
		s.refused.Add(1)
		return nil, errors.New("no pod of that identity on this node")
	}
	return s.Sign(csr, id, ttl)
}

// The certificate of a pod that the CA did not know is asked for again when the controller names the pod,
// not when the pause after the refusal is over.
func TestCertificateAsSoonAsThePodIsKnown(t *testing.T) {
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	issuer := &strict{Authority: a}
	certs := ca.NewManager(ca.ManagerOptions{Issuer: issuer, MinRetry: time.Hour})
	defer certs.Close()
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
	certs.Acquire(id)
	until(t, "refusal", func() bool { return !certs.List()[0].NextTry.IsZero() })
	issuer.knows.Store(true)

	s := state.New("n1")
	handle := apply(s, "n1", certs)
	pod := func(node string) subscribe.Delta {
		return subscribe.Delta{Workloads: []*model.Workload{{UID: "c//Pod/shop/" + node, Name: node, Namespace: "shop", Node: node}}}
	}
	if err := handle(pod("n2")); err != nil { // somebody else's
		t.Fatal(err)
	}
	if _, err := certs.Current(id); err == nil {
		t.Fatal("there is a certificate already")
	}
	if err := handle(pod("n1")); err != nil {
		t.Fatal(err)
	}
	until(t, "certificate", func() bool { _, err := certs.Current(id); return err == nil })
	if n := issuer.refused.Load(); n != 1 {
		t.Errorf("refused %d times", n)
	}
	if s.Pod("shop", "n1") == nil {
		t.Error("the delta was not applied")
	}
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}
