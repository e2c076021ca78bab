package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/model"
)

// remote says where the mesh's programs are asked: their admin sockets, found by the lab's name unless
// they are given.
type remote struct {
	lab        string
	controller string
	ztunnels   []string
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&r.lab, "name", defaultLab, "lab to ask")
	f.StringVar(&r.controller, "controller-socket", "", "controller's admin socket (default: the lab's)")
	f.StringSliceVar(&r.ztunnels, "ztunnel-socket", nil, "a ztunnel's admin socket, repeatable (default: the lab's)")
	_ = cmd.RegisterFlagCompletionFunc("name", completeLabs)
}

func (r *remote) controllerSocket() (string, error) {
	if r.controller != "" {
		return r.controller, nil
	}
	c, err := lab.Load(r.lab)
	if err != nil {
		return "", err
	}
	return c.ControllerSocket(), nil
}

// ztunnelSockets are by node's name; given ones are named by their path.
func (r *remote) ztunnelSockets() (map[string]string, error) {
	sockets := map[string]string{}
	for _, path := range r.ztunnels {
		sockets[path] = path
	}
	if len(sockets) > 0 {
		return sockets, nil
	}
	c, err := lab.Load(r.lab)
	if err != nil {
		return nil, err
	}
	for _, n := range c.NodeNames() {
		sockets[n] = c.ZtunnelSocket(n)
	}
	return sockets, nil
}

// allSockets are those of every program that has one, by the program's name.
func (r *remote) allSockets() (map[string]string, error) {
	sockets := map[string]string{}
	if r.controller == "" && len(r.ztunnels) == 0 {
		c, err := lab.Load(r.lab)
		if err != nil {
			return nil, err
		}
		sockets["controller"] = c.ControllerSocket()
		for _, n := range c.NodeNames() {
			sockets["agent/"+n], sockets["ztunnel/"+n] = c.AgentSocket(n), c.ZtunnelSocket(n)
		}
		return sockets, nil
	}
	if r.controller != "" {
		sockets["controller"] = r.controller
	}
	for _, path := range r.ztunnels {
		sockets["ztunnel "+path] = path
	}
	return sockets, nil
}

// snapshot asks the controller what it knows.
func (r *remote) snapshot(ctx context.Context) (*model.Snapshot, error) {
	socket, err := r.controllerSocket()
	if err != nil {
		return nil, err
	}
	snap := model.NewSnapshot()
	if err := askJSON(ctx, socket, "/debug/snapshot", snap); err != nil {
		return nil, fmt.Errorf("ask the controller: %w", err)
	}
	return snap, nil
}

func askJSON(ctx context.Context, socket, path string, into any) error {
	body, err := ask(ctx, socket, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s answered something else than expected: %w (programs of different versions?)", path, err)
	}
	return nil
}

// ask makes a GET request on an admin socket.
func ask(ctx context.Context, socket, path string) ([]byte, error) {
	body, err := fetch(ctx, path, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("nobody listens at %s: is the program running? (weftctl lab status)", socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: only root may ask (try sudo)", socket)
	}
	return body, err
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
