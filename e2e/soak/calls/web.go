package calls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/examples/shop/kit"
)

// faultText is what Envoy answers in place of the service when the Fault aborts.
const faultText = "fault filter abort"

// web calls over HTTP and gRPC, over connections that are kept and over new ones.
type web struct {
	kept, fresh *http.Client
	catalog     *grpc.ClientConn
}

func newWeb() (*web, error) {
	conn, err := grpc.NewClient("passthrough:///catalog:9090", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &web{
		kept:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 20 * time.Second}},
		fresh: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, catalog: conn,
	}, nil
}

func (w *web) close() {
	w.kept.CloseIdleConnections()
	_ = w.catalog.Close()
}

func frontendKinds() ([]kind, func(), error) {
	w, err := newWeb()
	if err != nil {
		return nil, nil, err
	}
	patient := http.Header{"X-User": {"patient"}}
	pay := "card=" + Card
	return []kind{
		{"cart, kept connection", 100 * time.Millisecond, w.get(w.kept, "http://cart/", nil, "")},
		{"cart, new connection", 200 * time.Millisecond, w.get(w.fresh, "http://cart/", nil, "")},
		{"checkout: cart, payments", 200 * time.Millisecond, w.get(w.kept, "http://cart/checkout", nil, pay)},
		{"home: catalog by gRPC, cart", 200 * time.Millisecond, w.get(w.kept, "http://frontend/", nil, "")},
		{"catalog, HTTP", 200 * time.Millisecond, w.get(w.fresh, "http://catalog/list", nil, "")},
		{"catalog, delayed", 500 * time.Millisecond, w.get(w.kept, "http://catalog/list", patient, "")},
		{"catalog, cancelled", 200 * time.Millisecond, w.cancelled},
		{"catalog, gRPC", 200 * time.Millisecond, w.list},
		{"DNS", 200 * time.Millisecond, lookUp},
		{"payments, refused by policy", 500 * time.Millisecond, refused("payments:9000")},
	}, w.close, nil
}

func strangerKinds() []kind {
	return []kind{
		{"stranger to cart, refused", 500 * time.Millisecond, refused("cart.shop:80")},
		{"stranger to payments, refused", 500 * time.Millisecond, refused("payments.shop:9000")},
	}
}

// get makes a request, by POST when there is a form. An abort of the Fault is as good as an answer.
func (w *web) get(client *http.Client, url string, h http.Header, form string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		method := http.MethodGet
		if form != "" {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form))
		if err != nil {
			return "", err
		}
		for k, v := range h {
			req.Header[k] = v
		}
		if form != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		switch text := string(body); {
		case err != nil:
			return "", err
		case resp.StatusCode == http.StatusOK:
			return OK, nil
		case strings.Contains(text, faultText) && strings.Contains(url, "catalog") && h == nil, strings.Contains(text, faultText) && strings.Contains(url, "frontend"):
			return Faulted, nil
		default:
			return "", fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(text))
		}
	}
}

// cancelled gives up a request at any point of its delay of 200 ms.
func (w *web) cancelled(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.Int64N(int64(150*time.Millisecond))))
	defer cancel()
	outcome, err := w.get(w.kept, "http://catalog/list", http.Header{"X-User": {"patient"}}, "")(ctx)
	if ctx.Err() != nil && err != nil {
		return Cancelled, nil
	}
	return outcome, err
}

func (w *web) list(ctx context.Context) (string, error) {
	goods, err := kit.List(ctx, w.catalog, "")
	switch {
	case status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), faultText):
		return Faulted, nil
	case err != nil:
		return "", err
	case len(goods) == 0:
		return "", errors.New("the catalog is empty")
	}
	return OK, nil
}

// lookUp asks for a name of the mesh, in short and in full, and for one that does not exist.
func lookUp(ctx context.Context) (string, error) {
	for _, name := range []string{"cart", "payments.shop.svc.cluster.local"} {
		addrs, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return "", err
		}
		if len(addrs) == 0 {
			return "", fmt.Errorf("%s has no address", name)
		}
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, "nothing.shop.svc.cluster.local.")
	var missing *net.DNSError
	if !errors.As(err, &missing) || !missing.IsNotFound {
		return "", fmt.Errorf("a name that does not exist: %v, %w", addrs, err)
	}
	return OK, nil
}
