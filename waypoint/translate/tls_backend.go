package translate

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// systemRoots is where the waypoint's image has the public roots.
const systemRoots = "/etc/ssl/certs/ca-certificates.crt"

// nobodysRoot is of a key that nobody has: who trusts it alone makes no connection.
const nobodysRoot = `-----BEGIN CERTIFICATE-----
MIIBhTCCASygAwIBAgIUQLSB68gvgfUxVPhi2u72Ad7vhFQwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMTE5NDIyOVoYDzIxMjYxMDI4MTk0
MjI5WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAT419Q9uxlPk67wBluJioZJvTIxvV+xPN8RT/42jIGk+1fFcNDpEonAqI8j/Ysz
oePcv8Lre+6juO/MXynfuaTNo2AwXjAdBgNVHQ4EFgQULpfj50rCUZxVZRFo6usP
lMhOYJkwHwYDVR0jBBgwFoAULpfj50rCUZxVZRFo6usPlMhOYJkwDwYDVR0TAQH/
BAUwAwEB/zALBgNVHQ8EBAMCAgQwCgYIKoZIzj0EAwIDRwAwRAIgVCdArpkO9Y2j
HxTvH+3kxWWPvxOeH0vObnLAZeIVNfkCIG2RpUiQ7HdgGsLr5gMSXUr3nZVBaKQK
csPvfwaiL+uX
-----END CERTIFICATE-----
`

// tlsToOutside has a cluster's endpoints outside the mesh called by TLS. A policy that cannot be carried out, or
// that Envoy refuses, closes the way there: it is not gone in clear.
func (b *builder) tlsToOutside(t *target, c *clusterv3.Cluster, p *model.TrafficPolicy) {
	how := p.TLS
	for _, a := range b.concerning(&b.refused, kindTraffic, t, nil, nil) {
		if a.Traffic.TLS != nil {
			how = &model.BackendTLS{ServerName: a.Traffic.TLS.ServerName, Broken: "refused by Envoy"}
		}
	}
	if how == nil {
		return
	}
	for _, m := range c.TransportSocketMatches {
		if m.Name == plainKey {
			m.TransportSocket = backendSocket(how)
		}
	}
}

func backendSocket(how *model.BackendTLS) *corev3.TransportSocket {
	names := how.Names
	if len(names) == 0 {
		names = []string{how.ServerName}
	}
	trust := &tlsv3.CertificateValidationContext{TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: systemRoots}}}
	for _, n := range names {
		kind := tlsv3.SubjectAltNameMatcher_DNS
		if strings.Contains(n, "://") {
			kind = tlsv3.SubjectAltNameMatcher_URI
		}
		trust.MatchTypedSubjectAltNames = append(trust.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: exactMatch(n)})
	}
	roots := how.Roots
	if how.Broken != "" {
		roots = nobodysRoot
	}
	if roots != "" {
		trust.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: roots}}
	}
	common := &tlsv3.CommonTlsContext{
		TlsParams:             &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: trust},
	}
	if how.Identity && how.Broken == "" {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{secret(SecretIdentity)}
	}
	return &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
		Sni: how.ServerName, CommonTlsContext: common,
	})}}
}
