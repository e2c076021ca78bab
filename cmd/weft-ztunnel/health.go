package main

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
	"github.com/weftmesh/weft/ztunnel"
)

const (
	healthEvery   = wire.HealthLife / 4
	healthTimeout = 3 * time.Second
)

// healthReporter tells every replica of the controller which pods of this node fail their checks.
type healthReporter struct {
	c    config
	z    *ztunnel.Ztunnel
	conn *grpc.ClientConn // to the controller, whichever replica
	log  *zap.Logger

	replicas map[string]*grpc.ClientConn // by address, where there are several
}

// run reports at every change, and now and then so that it is not forgotten, until ctx ends.
func (r *healthReporter) run(ctx context.Context) {
	r.replicas = map[string]*grpc.ClientConn{}
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, c := range r.replicas {
				c.Close()
			}
			return
		case <-t.C:
		case <-r.z.Health.Changed():
		}
		unhealthy, used := r.z.Health.Unhealthy()
		if !used {
			continue // nobody asks for checks
		}
		for _, conn := range r.targets() {
			go func() {
				ctx, cancel := context.WithTimeout(ctx, healthTimeout)
				defer cancel()
				if err := subscribe.ReportHealth(ctx, conn, r.c.node, unhealthy); err != nil && ctx.Err() == nil {
					r.log.Debug("health was not taken", zap.Error(err))
				}
			}()
		}
	}
}

// targets are the replicas, as far as the mesh knows them; else the one that this ztunnel is connected to.
func (r *healthReporter) targets() []*grpc.ClientConn {
	host, port, err := net.SplitHostPort(r.c.controller)
	s := r.z.State.ServiceByHostname(host)
	if err != nil || s == nil {
		return []*grpc.ClientConn{r.conn}
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	known := map[string]*grpc.ClientConn{}
	for _, w := range r.z.State.Endpoints(s.Key()) {
		for _, p := range w.Services[s.Key()] {
			if p.ServicePort != uint16(n) || len(w.Addresses) == 0 || w.Unhealthy {
				continue
			}
			at := netip.AddrPortFrom(w.Addresses[0], p.TargetPort).String()
			conn := r.replicas[at]
			if conn == nil {
				if conn, err = ca.Dial(ca.DialOptions{Address: at, RootFile: r.c.rootCert, ServerName: r.serverName(host), TokenFile: r.c.tokenFile}); err != nil {
					r.log.Warn("a replica of the controller cannot be told of pods' health", zap.String("address", at), zap.Error(err))
					continue
				}
			}
			known[at] = conn
		}
	}
	for at, c := range r.replicas {
		if known[at] == nil {
			c.Close()
		}
	}
	r.replicas = known
	if len(known) < 2 {
		return []*grpc.ClientConn{r.conn}
	}
	var out []*grpc.ClientConn
	for _, c := range known {
		out = append(out, c)
	}
	return out
}

func (r *healthReporter) serverName(host string) string {
	if r.c.controllerName != "" {
		return r.c.controllerName
	}
	return host
}
