package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probeReadiness flips the container's readiness by its probe's thresholds.
func (c *container) probeReadiness(ctx context.Context) {
	c.probe(ctx, c.spec.ReadinessProbe, func(ok bool, err error) bool {
		c.mu.Lock()
		was := c.ready
		c.mu.Unlock()
		if was != ok {
			c.log.Info("readiness", zap.Bool("ready", ok), zap.NamedError("cause", err))
			c.change(func() { c.ready = ok })
		}
		return true
	})
}

// probeLiveness kills the process when its probe fails for good.
func (c *container) probeLiveness(ctx context.Context, cmd *exec.Cmd) {
	c.probe(ctx, c.spec.LivenessProbe, func(ok bool, err error) bool {
		if !ok {
			c.log.Warn("liveness probe failed, restarting", zap.Error(err))
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		return ok
	})
}

// probe calls decided whenever a threshold is met, until the context ends or decided says so.
func (c *container) probe(ctx context.Context, p *corev1.Probe, decided func(ok bool, err error) bool) {
	or := func(v, fallback int32) time.Duration {
		if v <= 0 {
			v = fallback
		}
		return time.Duration(v)
	}
	period, timeout := or(p.PeriodSeconds, 10)*time.Second, or(p.TimeoutSeconds, 1)*time.Second
	rise, fall := int(or(p.SuccessThreshold, 1)), int(or(p.FailureThreshold, 3))
	// The first looks come quickly: whoever just started is often ready at once.
	wait, good, bad := time.Duration(p.InitialDelaySeconds)*time.Second+50*time.Millisecond, 0, 0
	settled := false
	for tries := 1; ; tries++ {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err := c.probeOnce(attempt, p)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad, settled = good+1, 0, true
		} else {
			good, bad = 0, bad+1
		}
		if (good >= rise || bad >= fall) && !decided(err == nil, err) {
			return
		}
		if wait = period; !settled && tries < 50 && wait > 100*time.Millisecond && p == c.spec.ReadinessProbe {
			wait = 100 * time.Millisecond
		}
	}
}

// probeOnce makes the probe from the node, as a kubelet does.
func (c *container) probeOnce(ctx context.Context, p *corev1.Probe) error {
	ip := c.pod.net.ip4.String()
	switch {
	case p.HTTPGet != nil:
		return c.probeHTTP(ctx, p.HTTPGet, ip)
	case p.TCPSocket != nil:
		addr, err := c.address(ip, p.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	case p.GRPC != nil:
		return probeGRPC(ctx, net.JoinHostPort(ip, strconv.Itoa(int(p.GRPC.Port))), p.GRPC.Service)
	case p.Exec != nil:
		return c.pod.runInside(ctx, c.spec, p.Exec.Command)
	}
	return errors.New("the probe says neither httpGet, tcpSocket, grpc nor exec")
}

func (c *container) probeHTTP(ctx context.Context, p *corev1.HTTPGetAction, ip string) error {
	addr, err := c.address(ip, p.Port)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+p.Path, nil)
	if err != nil {
		return err
	}
	for _, h := range p.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	req.Header.Set("User-Agent", "kube-probe/weft-lab")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

func probeGRPC(ctx context.Context, addr string, service *string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	req := &healthpb.HealthCheckRequest{}
	if service != nil {
		req.Service = *service
	}
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, req)
	if err != nil {
		return err
	}
	if resp.Status != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("health is %s", resp.Status)
	}
	return nil
}

// address resolves a port that is a number or the name of one of the container's ports.
func (c *container) address(ip string, port intstr.IntOrString) (string, error) {
	if port.Type == intstr.Int {
		return net.JoinHostPort(ip, strconv.Itoa(port.IntValue())), nil
	}
	for _, p := range c.spec.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(ip, strconv.Itoa(int(p.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("the container has no port named %q", port.StrVal)
}
