package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"syscall"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
)

// labBackend asks admin sockets: a lab's, found by its name, unless they are given.
type labBackend struct {
	name             string
	controllerSocket string
	ztunnelSockets   []string
}

// given reports that programs were named one by one.
func (b *labBackend) given() bool { return b.controllerSocket != "" || len(b.ztunnelSockets) > 0 }

func (b *labBackend) controller(context.Context) (page, error) {
	if b.controllerSocket != "" {
		return socketPage(b.controllerSocket), nil
	}
	c, err := lab.Load(b.name)
	if err != nil {
		return nil, err
	}
	return socketPage(c.ControllerSocket()), nil
}

// ztunnels are named by their path where they are given.
func (b *labBackend) ztunnels(context.Context) (map[string]page, error) {
	pages := map[string]page{}
	for _, path := range b.ztunnelSockets {
		pages[path] = socketPage(path)
	}
	if len(pages) > 0 {
		return pages, nil
	}
	c, err := lab.Load(b.name)
	if err != nil {
		return nil, err
	}
	for _, n := range c.NodeNames() {
		pages[n] = socketPage(c.ZtunnelSocket(n))
	}
	return pages, nil
}

func (b *labBackend) programs(context.Context) (map[string]page, error) {
	pages := map[string]page{}
	if !b.given() {
		c, err := lab.Load(b.name)
		if err != nil {
			return nil, err
		}
		pages["controller"] = socketPage(c.ControllerSocket())
		for _, n := range c.NodeNames() {
			pages["agent/"+n], pages["ztunnel/"+n] = socketPage(c.AgentSocket(n)), socketPage(c.ZtunnelSocket(n))
		}
		return pages, nil
	}
	if b.controllerSocket != "" {
		pages["controller"] = socketPage(b.controllerSocket)
	}
	for _, path := range b.ztunnelSockets {
		pages["ztunnel "+path] = socketPage(path)
	}
	return pages, nil
}

// waypoint's pages are only reachable on the pods' network, which is asked from a node's namespace.
func (b *labBackend) waypoint(pod *model.Workload) page {
	if b.given() {
		return nil
	}
	return func(ctx context.Context, path string) ([]byte, error) {
		c, err := lab.Load(b.name)
		if err != nil {
			return nil, err
		}
		ns, err := netns.Open("/run/netns/" + c.NodeNS(pod.Node))
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		return fetch(ctx, path, func(ctx context.Context) (net.Conn, error) {
			return ns.DialTCP(ctx, netip.AddrPortFrom(firstAddr(pod), api.PortMetrics), netns.DialOptions{})
		})
	}
}

// socketPage asks an admin socket.
func socketPage(socket string) page {
	return func(ctx context.Context, path string) ([]byte, error) {
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
}
