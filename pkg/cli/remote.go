package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/model"
)

// page makes a GET request on one program's pages.
type page func(ctx context.Context, path string) ([]byte, error)

// backend is where a mesh's programs are asked: a lab's sockets, or the pods of a cluster.
type backend interface {
	// controller's pages, the leader's where there are several.
	controller(ctx context.Context) (page, error)
	// ztunnels by node.
	ztunnels(ctx context.Context) (map[string]page, error)
	// programs are all that have a version, by name.
	programs(ctx context.Context) (map[string]page, error)
	// waypoint reads the pages of one pod of a waypoint; nil where they cannot be reached.
	waypoint(pod *model.Workload) page
}

// targetEnv chooses where no flag does.
const targetEnv = "WEFT_TARGET"

// whereText is what --help says of the choice.
const whereText = `
The mesh that is asked: the one that a flag names (--name a lab; --context, --kubeconfig … a cluster), else what
WEFT_TARGET says (lab or cluster), else the lab that runs on this machine, else the kubeconfig's cluster. A lab's
programs are asked by their sockets, so as root; a cluster's through port-forwarding into weft-system.`

// remote says which mesh is asked.
type remote struct {
	e          *env
	lab        string
	labGiven   func() bool
	controller string   // socket
	ztunnels   []string // sockets
	chosen     backend
}

func (r *remote) flags(e *env, cmd *cobra.Command) {
	r.e = e
	f := cmd.PersistentFlags()
	f.StringVar(&r.lab, "name", defaultLab, "lab to ask")
	f.StringVar(&r.controller, "controller-socket", "", "controller's admin socket (default: the lab's)")
	f.StringSliceVar(&r.ztunnels, "ztunnel-socket", nil, "a ztunnel's admin socket, repeatable (default: the lab's)")
	r.labGiven = func() bool { return f.Changed("name") }
	_ = cmd.RegisterFlagCompletionFunc("name", completeLabs)
}

// backend chooses once.
func (r *remote) backend() (backend, error) {
	if r.chosen != nil {
		return r.chosen, nil
	}
	onCluster, err := r.onCluster()
	if err != nil {
		return nil, err
	}
	if !onCluster {
		r.chosen = &labBackend{name: r.lab, controllerSocket: r.controller, ztunnelSockets: r.ztunnels}
		return r.chosen, nil
	}
	c, err := r.e.kube.cluster()
	if err != nil {
		return nil, err
	}
	r.chosen = &clusterBackend{Cluster: c}
	return r.chosen, nil
}

// onCluster decides by flags, by the environment, or by what there is.
func (r *remote) onCluster() (bool, error) {
	named := r.labGiven() || r.controller != "" || len(r.ztunnels) > 0
	switch target := os.Getenv(targetEnv); {
	case named && r.e.kube.given():
		return false, &exitError{2, errors.New("a lab and a cluster are named: leave out --name and the sockets, or the kubeconfig's flags")}
	case named:
		return false, nil
	case r.e.kube.given(), target == "cluster":
		return true, nil
	case target == "lab":
		return false, nil
	case target != "":
		return false, &exitError{2, fmt.Errorf("%s=%s: want lab or cluster", targetEnv, target)}
	}
	labs := slices.Contains(lab.Names(), r.lab)
	return !labs && (r.e.kube.known() || r.e.plugin), nil
}

// controllerPage finds the controller.
func (r *remote) controllerPage(ctx context.Context) (page, error) {
	b, err := r.backend()
	if err != nil {
		return nil, err
	}
	return b.controller(ctx)
}

// snapshot asks the controller what it knows.
func (r *remote) snapshot(ctx context.Context) (*model.Snapshot, error) {
	get, err := r.controllerPage(ctx)
	if err != nil {
		return nil, err
	}
	snap := model.NewSnapshot()
	if err := get.json(ctx, "/debug/snapshot", snap); err != nil {
		return nil, fmt.Errorf("ask the controller: %w", err)
	}
	return snap, nil
}

// problems asks the controller what is not in force as written.
func (r *remote) problems(ctx context.Context) ([]objectStatus, error) {
	get, err := r.controllerPage(ctx)
	if err != nil {
		return nil, err
	}
	var found []objectStatus
	if err := get.json(ctx, "/debug/status", &found); err != nil {
		return nil, fmt.Errorf("ask the controller: %w", err)
	}
	return found, nil
}

// json decodes a page.
func (p page) json(ctx context.Context, path string, into any) error {
	body, err := p(ctx, path)
	if err != nil {
		return err
	}
	return decodePage(body, path, into)
}

// fetch makes a GET request over a connection of its own.
func fetch(ctx context.Context, path string, dial func(context.Context) (net.Conn, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", path, resp.Status, oneLine(string(body)))
	}
	return body, err
}

// askAll asks many programs for one page, some at a time.
func askAll(ctx context.Context, pages map[string]page, path string) (bodies map[string][]byte, failed map[string]error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(16)
	bodies, failed = map[string][]byte{}, map[string]error{}
	for name, get := range pages {
		g.Go(func() error {
			body, err := get(ctx, path)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[name] = err
			} else {
				bodies[name] = body
			}
			return nil
		})
	}
	_ = g.Wait()
	return bodies, failed
}

// decodePage reads what a page answered.
func decodePage(body []byte, path string, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s answered something else than expected: %w (programs of different versions?)", path, err)
	}
	return nil
}
