package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/pkg/identity"
)

// maxMessage bounds one message from the controller: 100,000 workloads take about 40 MB.
const maxMessage = 512 << 20

// DialOptions configure Dial.
type DialOptions struct {
	// Address of the controller, host:port.
	Address string
	// RootFile holds the PEM roots that the controller's certificate must lead to. It is read at
	// every handshake, so a rotated root needs no restart.
	RootFile string
	// Server, when set, must be the controller's SPIFFE id; the name in Address then does not matter.
	Server identity.Identity
	// ServerName is the DNS name checked when Server is not set. Default the host of Address.
	ServerName string
	// TokenFile holds the service-account token, read again for every call since it is rotated on disk.
	// Empty sends none.
	TokenFile string
	// ClientCert, if set, is presented in the handshake.
	ClientCert func() (*tls.Certificate, error)
	// Dialer, default net.Dialer.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Clock that judges the controller's certificate, default the machine's.
	Clock Clock
}

// Dial prepares a connection to the controller, for certificates and xDS alike. It connects when first
// used and again, with backoff up to 5 s, whenever the connection breaks; dead peers are noticed after 30 s.
func Dial(o DialOptions) (*grpc.ClientConn, error) {
	if o.Address == "" || o.RootFile == "" {
		return nil, errors.New("connect to controller: address and root certificate file are both needed")
	}
	if _, err := readRoots(o.RootFile); err != nil {
		return nil, fmt.Errorf("connect to controller: %w", err)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(o.tlsConfig())),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}, MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}
	if o.TokenFile != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(tokenFile(o.TokenFile)))
	}
	if o.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dialer))
	}
	target := o.Address
	if o.Dialer != nil && !strings.Contains(target, "://") {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to controller at %s: %w", o.Address, err)
	}
	return conn, nil
}

func (o DialOptions) tlsConfig() *tls.Config {
	name := o.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(o.Address)
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: name,
		NextProtos: []string{"h2"},
		// Verified below, against roots read at this moment and a SPIFFE id that crypto/tls knows nothing of.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it
		VerifyConnection:   func(cs tls.ConnectionState) error { return o.verify(cs, name) },
	}
	if o.ClientCert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.ClientCert() }
	}
	return c
}

func (o DialOptions) verify(cs tls.ConnectionState, name string) error {
	pool, err := readRoots(o.RootFile)
	if err != nil {
		return err
	}
	now := clockOr(o.Clock).Now()
	if !o.Server.IsZero() {
		_, err = VerifyPeer(cs.PeerCertificates, PeerPolicy{Roots: pool, TrustDomain: o.Server.TrustDomain, Now: now, Expected: []identity.Identity{o.Server}})
	} else if err = verifyChain(cs.PeerCertificates, PeerPolicy{Roots: pool, Now: now}); err == nil {
		err = cs.PeerCertificates[0].VerifyHostname(name)
	}
	if err != nil {
		return fmt.Errorf("controller at %s (roots of %s): %w", o.Address, o.RootFile, err)
	}
	return nil
}

func readRoots(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read trusted roots: %w", err)
	}
	certs, err := ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// tokenFile sends the token of a file with every call.
type tokenFile string

func (f tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	b, err := os.ReadFile(string(f))
	if err != nil {
		return nil, fmt.Errorf("read service-account token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(b))}, nil
}

func (tokenFile) RequireTransportSecurity() bool { return true }
