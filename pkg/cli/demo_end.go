package cli

import (
	"context"
	"fmt"
)

// checkWhy asks weftctl why frontend may not call payments.
func (s *story) checkWhy(context.Context) error { return fmt.Errorf("why: missing") }

func (s *story) checkMetrics(context.Context) error { return fmt.Errorf("metrics: missing") }

// sayHowToGoOn ends a demo that leaves its lab up.
func (s *story) sayHowToGoOn() {
	fmt.Fprintf(s.e.stdout, `
The lab is still up. Go on by hand:
  weftctl lab status --name %[1]s
  weftctl lab exec --name %[1]s shop/frontend -- shop-client get http://cart
  $EDITOR %[2]s/cart-route.yaml      # saved is in force
  weftctl lab down --name %[1]s; rm -r %[2]s
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
