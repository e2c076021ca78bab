package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// rpcCaller makes each RPC on a connection of its own.
func rpcCaller(address string) call {
	return func(ctx context.Context) (bool, error) {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return false, err
		}
		defer conn.Close()
		res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return false, err
		}
		if res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			return false, fmt.Errorf("health is %s", res.Status)
		}
		return false, nil
	}
}

// line is one long-lived connection to the TCP echo. When it breaks, that is counted and the next call makes a new one.
type line struct {
	to   string
	mark string
	mu   sync.Mutex // protects conn and n, and keeps calls one after the other
	conn net.Conn
	n    int
}

func (l *line) call(ctx context.Context) (broken bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("waited for the call before: %w", err)
	}
	lived := l.conn != nil
	if l.conn == nil {
		if l.conn, err = new(net.Dialer).DialContext(ctx, "tcp", l.to); err != nil {
			l.conn = nil
			return false, err
		}
	}
	l.n++
	text := fmt.Sprintf("line %d %s\n", l.n, l.mark)
	deadline, _ := ctx.Deadline()
	got, err := exchange(l.conn, text, time.Until(deadline))
	if err == nil && got != text {
		err = fmt.Errorf("sent %q, got %q", text, got)
	}
	if err != nil {
		l.conn.Close()
		l.conn = nil
	}
	return lived && err != nil, err
}

// exchange sends a line and reads one.
func exchange(conn net.Conn, text string, timeout time.Duration) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}
