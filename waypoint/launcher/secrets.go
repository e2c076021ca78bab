package launcher

import (
	"context"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/waypoint/translate"
)

// secrets serves Envoy its certificate and the mesh's roots by SDS, from memory. A new certificate is
// pushed at once; connections keep the one they were made with.
type secrets struct {
	cache *cache.LinearCache
	ready atomic.Bool
	// expiry of the certificate, in seconds since 1970.
	expiry atomic.Int64
	log    *zap.Logger
}

func newSecrets(log *zap.Logger) *secrets {
	return &secrets{cache: cache.NewLinearCache(resource.SecretType), log: log}
}

func (s *secrets) register(ctx context.Context, g *grpc.Server) {
	secretv3.RegisterSecretDiscoveryServiceServer(g, server.NewServer(ctx, s.cache, nil))
}

// set publishes a certificate. One that cannot be written is reported and the old one kept.
func (s *secrets) set(c *ca.Cert) {
	chain, err := c.ChainPEM()
	if err != nil {
		s.log.Error("new certificate cannot be used, the old one stays", zap.Error(err))
		return
	}
	key, err := c.KeyPEM()
	if err != nil {
		s.log.Error("new certificate cannot be used, the old one stays", zap.Error(err))
		return
	}
	s.cache.SetResources(map[string]types.Resource{
		translate.SecretIdentity: &tlsv3.Secret{Name: translate.SecretIdentity, Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(chain), PrivateKey: inline(key)},
		}},
		translate.SecretTrust: &tlsv3.Secret{Name: translate.SecretTrust, Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(c.RootPEM())},
		}},
	})
	s.expiry.Store(c.NotAfter().Unix())
	s.ready.Store(true)
	s.log.Info("certificate handed to Envoy", zap.Stringer("identity", c.Identity), zap.Time("notAfter", c.NotAfter()))
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
