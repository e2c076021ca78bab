package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Dial connects to a port of a pod's loopback through the API server, as kubectl port-forward does: over a
// WebSocket, or SPDY where the server or a proxy before it knows no better.
func (c *Cluster) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	url := c.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, err
	}
	spdyDialer := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	webDialer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.Config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(webDialer, spdyDialer, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	type dialed struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan dialed, 1)
	go func() { // the dialers know no context
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- dialed{conn, err}
	}()
	select {
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				_ = late.conn.Close()
			}
		}()
		return nil, fmt.Errorf("forward port %d of pod %s/%s: %w", port, namespace, pod, ctx.Err())
	case d := <-done:
		if d.err != nil {
			return nil, fmt.Errorf("forward port %d of pod %s/%s: %w", port, namespace, pod, d.err)
		}
		return stream(d.conn, port)
	}
}

// stream opens one forwarded connection.
func stream(conn httpstream.Connection, port int) (net.Conn, error) {
	header := http.Header{}
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	header.Set(corev1.PortHeader, strconv.Itoa(port))
	header.Set(corev1.PortForwardRequestIDHeader, "0")
	failure, err := conn.CreateStream(header)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("forward port %d: %w", port, err)
	}
	_ = failure.Close() // nothing is written there
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(header)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("forward port %d: %w", port, err)
	}
	f := &forwarded{Stream: data, conn: conn, port: port, told: make(chan struct{})}
	go f.listen(failure)
	return f, nil
}

// forwarded is a connection to a port of a pod.
type forwarded struct {
	httpstream.Stream
	conn httpstream.Connection
	port int

	told    chan struct{} // closed when the other side said all it has to say of failures
	failure error         // written before told is closed
	once    sync.Once
}

// listen takes what the node says of a failure, as that nobody listens at the port.
func (f *forwarded) listen(failure io.Reader) {
	defer close(f.told)
	text, err := io.ReadAll(failure)
	if err == nil && len(text) > 0 {
		f.failure = errors.New(strings.TrimSpace(string(text)))
	}
}

// Read ends with what the node said of a failure rather than with a bare end of file.
func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.Stream.Read(p)
	if n == 0 && err != nil {
		select {
		case <-f.told:
		case <-time.After(time.Second): // it comes on another stream, if it comes
		}
		select {
		case <-f.told:
			if f.failure != nil {
				return 0, f.failure
			}
		default:
		}
	}
	return n, err
}

func (f *forwarded) Close() error {
	var err error
	f.once.Do(func() { err = f.conn.Close() })
	return err
}

// The rest of net.Conn. Deadlines are the context's of the request that uses the connection.

func (f *forwarded) LocalAddr() net.Addr              { return forwardedAddr(f.port) }
func (f *forwarded) RemoteAddr() net.Addr             { return forwardedAddr(f.port) }
func (f *forwarded) SetDeadline(time.Time) error      { return nil }
func (f *forwarded) SetReadDeadline(time.Time) error  { return nil }
func (f *forwarded) SetWriteDeadline(time.Time) error { return nil }

type forwardedAddr int

func (forwardedAddr) Network() string  { return "port-forward" }
func (a forwardedAddr) String() string { return fmt.Sprintf("port-forward:%d", int(a)) }
