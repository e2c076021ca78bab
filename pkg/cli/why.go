package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
)

// whyOptions are the flags of `why`.
type whyOptions struct {
	remote
	e       *env
	files   []string // judge by manifests instead of a running mesh
	domains controller.Config
	request request
	headers []string
	jwt     string // file
	output  string
}

func newWhy(e *env) *cobra.Command {
	o := &whyOptions{e: e}
	cmd := &cobra.Command{
		Use:   "why SOURCE DESTINATION[:PORT]",
		Short: "Explain whether a connection is allowed: by which rule, enforced where, and what to do",
		Long: `SOURCE is a pod: namespace/name, the beginning of it, or an address. DESTINATION is a service
(payments.shop, shop/payments), a pod or an address. With --method, --path and --header the request is
judged as well, where a waypoint sees it; with --jwt also the token of its user: issuer, audience, times, signature, and
what policies make of its claims. Without the last, a request has no token.

With -f it needs no mesh: the manifests are judged as if a cluster ran them, every Deployment with one ready
pod, enrolled where its labels say so.

Exit code 0: allowed. 1: refused, or it depends on what was not said. 2: called wrongly.
` + whereText,
		Example: `  weftctl why shop/frontend payments.shop:9000
  weftctl why frontend cart --method GET --path /admin --header x-user=tester
  weftctl why frontend cart --method GET --path / --jwt token.txt
  weftctl why -f examples/shop -f examples/steps/3-policy frontend payments:9000 -o json`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeWhy(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(); err != nil {
				return &exitError{2, err}
			}
			return e.why(cmd.Context(), o, args[0], args[1])
		},
	}
	o.flags(e, cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "judge by these manifests instead of a running mesh: file, folder or - (repeatable; of an object in several, the last counts)")
	f.StringVar(&o.request.method, "method", "", "HTTP method")
	f.StringVar(&o.request.path, "path", "", "HTTP path")
	f.StringArrayVar(&o.headers, "header", nil, "HTTP header, name=value (repeatable)")
	f.StringVar(&o.jwt, "jwt", "", "file with the token (JWT) of the request's user, or - (it is not printed)")
	f.StringVar(&o.request.sni, "sni", "", "server name of the TLS handshake, where a TLSRoute looks at it")
	f.StringVarP(&o.output, "output", "o", "", "json or yaml (default: text)")
	domainFlags(cmd, &o.domains)
	_ = cmd.RegisterFlagCompletionFunc("output", offerFixed("json", "yaml"))
	return cmd
}

// complete checks the flags.
func (o *whyOptions) complete() error {
	o.request.header = map[string]string{}
	for _, h := range o.headers {
		k, v, ok := strings.Cut(h, "=")
		if !ok {
			return fmt.Errorf("--header %s: want name=value", h)
		}
		o.request.header[strings.ToLower(k)] = v
	}
	if o.request.path != "" && !strings.HasPrefix(o.request.path, "/") {
		return fmt.Errorf("--path %s: want it to begin with /", o.request.path)
	}
	o.request.method = strings.ToUpper(o.request.method)
	o.request.offline = len(o.files) > 0
	if err := o.readToken(); err != nil {
		return err
	}
	return checkOutput(o.output, "json", "yaml")
}

// readToken reads what --jwt names.
func (o *whyOptions) readToken() error {
	var text []byte
	var err error
	switch {
	case o.jwt == "":
		return nil
	case o.jwt == "-" && slices.Contains(o.files, "-"):
		return errors.New("--jwt - and -f -: standard input can only be one of them")
	case o.jwt == "-":
		text, err = io.ReadAll(o.e.stdin)
	default:
		text, err = os.ReadFile(o.jwt)
	}
	if err != nil {
		return fmt.Errorf("--jwt: %w", err)
	}
	o.request.jwt = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(text)), "Bearer "))
	if o.request.jwt == "" {
		return fmt.Errorf("--jwt %s: there is no token in it", o.jwt)
	}
	return nil
}

// load takes what is known from the files, or else from the controller.
func (o *whyOptions) load(ctx context.Context) (*model.Snapshot, error) {
	if len(o.files) == 0 {
		return o.snapshot(ctx)
	}
	m, err := o.e.readManifests(o.files)
	if err != nil {
		return nil, err
	}
	if n := m.errorCount(); n > 0 {
		fmt.Fprintf(o.e.stderr, "Warning: the files have %d errors, and what is wrong was left out; `weftctl analyze` lists them\n", n)
	}
	o.domains.Now = time.Now()
	return controller.Preview(m.objects, o.domains), nil
}

func (e *env) why(ctx context.Context, o *whyOptions, source, destination string) error {
	snap, err := o.load(ctx)
	if err != nil {
		return err
	}
	a, err := explain(snap, source, destination, o.request)
	if err != nil {
		return &exitError{2, err}
	}
	if o.output == "" {
		e.printAnswer(a)
	} else if err := e.printData(a.view(), o.output); err != nil {
		return err
	}
	if a.verdict != allowed {
		return &exitError{code: 1}
	}
	return nil
}

// answerView is what -o json prints.
type answerView struct {
	Verdict     string    `json:"verdict"` // ALLOWED, DEPENDS or REFUSED
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Hops        []hopView `json:"hops"`
	Advice      []string  `json:"advice,omitempty"`
}

type hopView struct {
	Where string   `json:"where"`
	Says  []string `json:"says"`
}

func (a *answer) view() answerView {
	v := answerView{Verdict: a.verdict.String(), Source: a.source, Destination: a.destination, Advice: a.advice}
	for _, h := range a.hops {
		v.Hops = append(v.Hops, hopView{h.where, h.lines})
	}
	return v
}

func (v verdict) String() string { return [...]string{"ALLOWED", "DEPENDS", "REFUSED"}[v] }

func (e *env) printAnswer(a *answer) {
	word := e.paint(map[verdict]string{allowed: "32", depends: "33", refused: "31"}[a.verdict], a.verdict.String())
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
