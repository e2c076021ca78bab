package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pair is a certificate with its key.
type pair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// pki writes all certificates and kubeconfigs of a cluster into one folder.
type pki struct {
	dir    string
	server string // URL of the API server
	ca     *pair
}

// subject says for whom a certificate is.
type subject struct {
	name string
	orgs []string
	dns  []string
	ips  []string
}

// writePKI makes the folder for a cluster of so many nodes.
func writePKI(dir string, l layout, nodes int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := issue(nil, subject{name: "weft-e2e"})
	if err != nil {
		return err
	}
	p := &pki{dir: dir, server: l.server(), ca: ca}
	front, err := issue(nil, subject{name: "weft-e2e-front-proxy"})
	if err != nil {
		return err
	}
	accounts, err := issue(nil, subject{name: "service-accounts"})
	if err != nil {
		return err
	}
	if err := p.save("ca", ca); err != nil {
		return err
	}
	if err := p.save("front-proxy-ca", front); err != nil {
		return err
	}
	if err := p.save("service-accounts", accounts); err != nil {
		return err
	}
	err = p.issue("apiserver", subject{name: "kube-apiserver", ips: []string{l.controlIP(), "127.0.0.1", serviceAPI},
		dns: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}})
	if err != nil {
		return err
	}
	if err := p.issue("apiserver-kubelet-client", subject{name: "kube-apiserver-kubelet-client", orgs: []string{"system:masters"}}); err != nil {
		return err
	}
	users := map[string]subject{
		"admin":              {name: "admin", orgs: []string{"system:masters"}},
		"controller-manager": {name: "system:kube-controller-manager"},
		"scheduler":          {name: "system:kube-scheduler"},
		"proxy":              {name: "system:kube-proxy"},
	}
	for n := 1; n <= nodes; n++ {
		users["kubelet-"+nodeName(n)] = subject{name: "system:node:" + nodeName(n), orgs: []string{"system:nodes"},
			dns: []string{nodeName(n)}, ips: []string{l.nodeIP(n)}}
	}
	for file, who := range users {
		if err := p.kubeconfig(file, who); err != nil {
			return err
		}
	}
	return nil
}

func (p *pki) issue(file string, who subject) error {
	c, err := issue(p.ca, who)
	if err != nil {
		return err
	}
	return p.save(file, c)
}

func (p *pki) save(file string, c *pair) error {
	if err := os.WriteFile(filepath.Join(p.dir, file+".crt"), c.certPEM, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, file+".key"), c.keyPEM, 0o600)
}

// kubeconfig writes certificate, key and FILE.kubeconfig.
func (p *pki) kubeconfig(file string, who subject) error {
	c, err := issue(p.ca, who)
	if err != nil {
		return err
	}
	if err := p.save(file, c); err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	return os.WriteFile(filepath.Join(p.dir, file+".kubeconfig"), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: weft-e2e, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: %q, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: weft-e2e, context: {cluster: weft-e2e, user: %q}}]
current-context: weft-e2e
`, p.server, b64(p.ca.certPEM), who.name, b64(c.certPEM), b64(c.keyPEM), who.name), 0o600)
}

// issue signs a certificate; without ca it is a root.
func issue(ca *pair, who subject) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: who.name, Organization: who.orgs}, DNSNames: who.dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range who.ips {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(ip))
	}
	parent, signer := t, crypto.Signer(key)
	if ca == nil {
		t.IsCA, t.BasicConstraintsValid, t.ExtKeyUsage = true, true, nil
		t.KeyUsage |= x509.KeyUsageCertSign
	} else {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &pair{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})}, nil
}
