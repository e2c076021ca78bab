package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/lab/capture"
)

// card is what must never be seen on the link once the shop is enrolled.
const card = "4929-7226-WEFT-DEMO"

// checkout sends the card from the frontend on n1 to the cart on n2, which pays on n1.
func (s *story) checkout(ctx context.Context) (callResult, error) {
	return s.must(ctx, "shop/frontend", "shop-client", "get", "-d", "card="+card, "http://cart/checkout")
}

func (s *story) checkPlain(ctx context.Context) error {
	r, err := s.watchWire(func() error {
		answer, err := s.checkout(ctx)
		if err == nil {
			s.proved("frontend (n1) → cart (n2): %s", oneLine(answer.out))
		}
		return err
	}, card)
	if err != nil {
		return err
	}
	if len(r.Clear) == 0 {
		return fmt.Errorf("the capture of %d frames does not show the card number: the demo's witness is blind", r.Frames)
	}
	s.proved("capture on the link (%d frames): the card number is readable in %d packets, e.g.", r.Frames, len(r.Clear))
	s.note("  %s  …%s…", r.Clear[0].Flow, r.Clear[0].Excerpt)
	return nil
}

// awaitEnrolled waits until every pod of the shop is announced as captured.
func (s *story) awaitEnrolled(ctx context.Context) error {
	return s.until(ctx, 30*time.Second, func() (string, error) {
		pods, err := s.c.Pods()
		if err != nil {
			return "", err
		}
		for _, p := range pods {
			if p.Namespace == "shop" && p.Labels["gateway.networking.k8s.io/gateway-name"] == "" && !lab.Enrolled(s.c.Layout, p) {
				return "pod " + p.Name + " is not captured", nil
			}
		}
		return "", nil
	})
}

// checkEncrypted makes requests until the whole shop talks through the tunnel, then proves it.
func (s *story) checkEncrypted(ctx context.Context) error {
	before, err := s.processes()
	if err != nil {
		return err
	}
	const requests = 20
	r, err := s.watchWire(func() error {
		for range requests {
			if _, err := s.checkout(ctx); err != nil {
				return err
			}
		}
		_, err := s.must(ctx, "shop/frontend", "shop-client", "get", "http://frontend/") // gRPC to the catalog
		return err
	}, card)
	if err != nil {
		return err
	}
	if err := onlyTLS(r); err != nil {
		return err
	}
	s.proved("%d more checkouts: capture of %d frames holds %d packets of TLS to port 15008 (%d handshakes, %d bytes)",
		requests, r.Frames, r.Tunnel.Packets, r.Hellos, r.Tunnel.Bytes)
	s.proved("no other TCP between pods (only the control plane: %d packets to :15012); the card number is nowhere", r.Control.Packets)
	after, err := s.processes()
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return errors.New("processes of the shop changed")
	}
	s.proved("the shop's %d processes are the ones that were started before, no restart", len(after))
	return nil
}

// onlyTLS fails unless everything between pods was TLS to the tunnel's port, and there was some.
func onlyTLS(r capture.Report) error {
	switch {
	case len(r.Clear) > 0:
		return fmt.Errorf("CLEAR TEXT on the link: %s …%s…", r.Clear[0].Flow, r.Clear[0].Excerpt)
	case r.Other.Packets > 0:
		return fmt.Errorf("TCP past the tunnel on the link: %v", r.Other.Flows)
	case len(r.NotTLS) > 0:
		return fmt.Errorf("connections to port 15008 that are not TLS: %v", r.NotTLS)
	case r.Tunnel.Bytes == 0:
		return errors.New("nothing went through the tunnel: the witness saw no traffic")
	}
	return nil
}

// processes are the shop's, by pod.
func (s *story) processes() (map[string][]lab.ProcessID, error) {
	pods, err := s.c.Pods()
	if err != nil {
		return nil, err
	}
	all := map[string][]lab.ProcessID{}
	for _, p := range pods {
		if p.Namespace != "shop" {
			continue
		}
		if all[p.Name], err = lab.Processes(s.c.Layout, p); err != nil {
			return nil, err
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount > 0 {
				return nil, fmt.Errorf("pod %s restarted %d times", p.Name, c.RestartCount)
			}
		}
	}
	return all, nil
}

var payCommand = []string{"shop-client", "tcp", "-timeout", "2s", "payments:9000", "CHARGE 100 " + card, "QUIT"}

func (s *story) awaitPolicy(ctx context.Context) error {
	return s.until(ctx, 10*time.Second, func() (string, error) {
		r, err := s.call(ctx, "shop/frontend", payCommand...)
		if err == nil && r.code == 0 {
			return "frontend still reaches payments", nil
		}
		return "", err
	})
}

func (s *story) checkPolicy(ctx context.Context) error {
	r, err := s.call(ctx, "shop/frontend", payCommand...)
	if err != nil {
		return err
	}
	if r.code == 0 || r.out != "" {
		return fmt.Errorf("frontend reached payments: %s", r.out)
	}
	s.proved("frontend → payments: refused after %s (%s)", millis(r.took), oneLine(r.errs))
	paid, err := s.checkout(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(paid.out, "charged") {
		return fmt.Errorf("cart could not pay: %s", paid.out)
	}
	s.proved("cart → payments: %s", oneLine(paid.out))
	return s.checkWhy(ctx)
}

func (s *story) awaitStrict(ctx context.Context) error {
	return s.until(ctx, 10*time.Second, func() (string, error) {
		r, err := s.call(ctx, "outside/stranger", "shop-client", "get", "-timeout", "2s", "http://cart.shop/")
		if err == nil && r.code == 0 {
			return "a pod outside the mesh still reaches the cart", nil
		}
		return "", err
	})
}

func (s *story) checkStrict(ctx context.Context) error {
	for _, target := range []string{"http://cart.shop/", "http://catalog.shop/list"} {
		r, err := s.call(ctx, "outside/stranger", "shop-client", "get", "-timeout", "2s", target)
		if err != nil {
			return err
		}
		if r.code == 0 || r.out != "" {
			return fmt.Errorf("a pod outside the mesh reached %s: %s", target, r.out)
		}
		s.proved("stranger (not in the mesh) → %s: refused after %s (%s)", target, millis(r.took), oneLine(r.errs))
	}
	if _, err := s.checkout(ctx); err != nil {
		return err
	}
	s.proved("frontend → cart → payments still works")
	return s.checkProbes(ctx)
}

// checkProbes asks a captured pod from its node, as the kubelet and as another process.
func (s *story) checkProbes(ctx context.Context) error {
	p, err := s.pod("shop/cart-v1")
	if err != nil {
		return err
	}
	url := "http://" + netip.AddrPortFrom(netip.MustParseAddr(p.Status.PodIP), 8080).String() + "/healthz"
	ask := []string{"shop-client", "get", "-timeout", "2s", url}
	for range 5 {
		if out, err := lab.FromNode(ctx, s.c.Layout, p.Spec.NodeName, true, ask); err != nil {
			return fmt.Errorf("a kubelet's probe of %s failed: %w: %s", url, err, oneLine(out))
		}
	}
	if out, err := lab.FromNode(ctx, s.c.Layout, p.Spec.NodeName, false, ask); err == nil {
		return fmt.Errorf("a process of the node that is not the kubelet reached %s in plaintext: %s", url, oneLine(out))
	}
	if _, err := s.processes(); err != nil {
		return err
	}
	pods, err := s.c.Pods()
	if err != nil {
		return err
	}
	for _, p := range pods {
		if !lab.PodReady(p) {
			return fmt.Errorf("pod %s is not ready: the kubelet's probes do not pass", p.Name)
		}
	}
	s.proved("probes from the node's kubelet pass (5 of 5 by hand, all %d pods ready); another process of the node is refused", len(pods))
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
