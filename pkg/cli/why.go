package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// whyOptions are the flags of `why`.
type whyOptions struct {
	remote
	request request
	headers []string
}

func newWhy(e *env) *cobra.Command {
	o := &whyOptions{}
	cmd := &cobra.Command{
		Use:   "why SOURCE DESTINATION[:PORT]",
		Short: "Explain whether a connection is allowed: by which rule, enforced where, and what to do",
		Long: `SOURCE is a pod: namespace/name, the beginning of it, or an address. DESTINATION is a service
(payments.shop, shop/payments), a pod or an address. With --method, --path and --header the request is
judged as well, where a waypoint sees it.

Exit code 0: allowed. 1: refused, or it depends on what was not said.`,
		Example: "  weftctl why shop/frontend payments.shop:9000\n  weftctl why frontend cart --method GET --path /admin --header x-user=tester",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.why(cmd.Context(), o, args[0], args[1])
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.request.method, "method", "", "HTTP method")
	f.StringVar(&o.request.path, "path", "", "HTTP path")
	f.StringArrayVar(&o.headers, "header", nil, "HTTP header, name=value (repeatable)")
	return cmd
}

func (e *env) why(ctx context.Context, o *whyOptions, source, destination string) error {
	o.request.header = map[string]string{}
	for _, h := range o.headers {
		k, v, ok := strings.Cut(h, "=")
		if !ok {
			return &exitError{2, fmt.Errorf("--header %s: want name=value", h)}
		}
		o.request.header[strings.ToLower(k)] = v
	}
	if o.request.path != "" && !strings.HasPrefix(o.request.path, "/") {
		return &exitError{2, fmt.Errorf("--path %s: want it to begin with /", o.request.path)}
	}
	snap, err := o.snapshot(ctx)
	if err != nil {
		return err
	}
	a, err := explain(snap, source, destination, o.request)
	if err != nil {
		return &exitError{2, err}
	}
	e.printAnswer(a)
	if a.verdict != allowed {
		return &exitError{code: 1}
	}
	return nil
}

func (e *env) printAnswer(a *answer) {
	word := map[verdict]string{allowed: e.green("ALLOWED"), refused: e.red("REFUSED"), depends: e.paint("33", "DEPENDS")}[a.verdict]
	fmt.Fprintf(e.stdout, "%s  %s → %s\n", word, a.source, a.destination)
	for _, h := range a.hops {
		fmt.Fprintf(e.stdout, "\n%s\n", e.bold(h.where))
		for _, line := range h.lines {
			fmt.Fprintf(e.stdout, "  %s\n", line)
		}
	}
	for i, line := range a.advice {
		if i == 0 {
			fmt.Fprintf(e.stdout, "\n%s\n", e.bold("What to do"))
		}
		fmt.Fprintf(e.stdout, "  %s\n", line)
	}
}
