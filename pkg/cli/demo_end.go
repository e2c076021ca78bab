package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkWhy asks what a person would ask: it has to name the policy, and to tell the two callers apart.
func (s *story) checkWhy(ctx context.Context) error {
	ask := func(source string) (string, int) {
		var out bytes.Buffer
		code := (&env{stdout: &out, stderr: &out}).run(ctx, []string{"why", "--name", s.c.Name, source, "payments.shop:9000"})
		return out.String(), code
	}
	text, code := ask("shop/frontend")
	if code != 1 || !strings.Contains(text, "shop/payments-callers") {
		return fmt.Errorf("weftctl why does not name the policy that refuses frontend (exit code %d): %s", code, text)
	}
	if text, code := ask("shop/cart-v1"); code != 0 {
		return fmt.Errorf("weftctl why says that the cart is refused (exit code %d): %s", code, text)
	}
	s.proved("weftctl why shop/frontend payments.shop:9000")
	for line := range strings.Lines(text) {
		fmt.Fprintf(s.e.stdout, "       %s", line)
	}
	return nil
}

// checkMetrics prints the graph that the ztunnels' metrics draw, and holds it against what happened.
func (s *story) checkMetrics(ctx context.Context) error {
	edges, err := (&remote{chosen: &labBackend{name: s.c.Name}}).traffic(ctx)
	if err != nil {
		return err
	}
	header := slices.Clone(edgeHeader)
	header[0] = "   " + header[0]
	t := newTable(header...)
	secured, clear, refused := 0, 0, 0
	for _, e := range edges {
		if e.idle() {
			continue
		}
		security := s.e.red(e.Security)
		switch {
		case e.refused():
			security = e.Security
			refused++
		case e.Security == "mutual_tls":
			security = s.e.green(e.Security)
			secured++
		default:
			clear++
		}
		t.row(append([]string{"   " + e.Source, e.Destination, security}, e.cells()...)...)
		if e.Security != "mutual_tls" && strings.HasPrefix(e.Source, "shop/") && strings.HasPrefix(e.Destination, "shop/") && !e.refused() {
			return fmt.Errorf("%s → %s is reported as %q, yet it went through the tunnel", e.Source, e.Destination, e.Security)
		}
	}
	t.print(s.e.stdout)
	if secured == 0 {
		return errors.New("the metrics know of no connection secured by mutual TLS")
	}
	s.proved("%d pairs secured by mutual TLS, %d refused or led nowhere, %d in clear text with someone outside the mesh", secured, refused, clear)
	return nil
}

// sayHowToGoOn ends a demo that leaves its lab up.
func (s *story) sayHowToGoOn() {
	fmt.Fprintf(s.e.stdout, `
The lab is still up. Go on by hand:
  weftctl lab status --name %[1]s
  weftctl lab exec --name %[1]s shop/frontend -- shop-client get http://cart
  $EDITOR %[2]s/namespace.yaml      # saved is in force
  weftctl lab down --name %[1]s
`, s.c.Name, s.dir)
}

// sayMore ends a demo that takes its lab down.
func (s *story) sayMore() {
	fmt.Fprint(s.e.stdout, `
To go on by hand:
  weftctl lab up -f examples/shop                     raises the lab and leaves it up
  weftctl lab exec shop/frontend -- shop-client get http://cart
  cp examples/steps/2-enrol/*.yaml examples/shop/     any file of the steps; saved is in force
  weftctl why shop/frontend payments.shop:9000        and: weftctl get workloads, lab status, lab logs
  weftctl lab down
`)
}
