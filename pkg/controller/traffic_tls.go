package controller

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// backendTLS reads how endpoints outside the mesh are called. Where it cannot be done as asked nobody is called:
// who wants TLS does not want to be served without.
func (c *compiler) backendTLS(p policyObject, in *api.BackendTLS) *model.BackendTLS {
	if in == nil {
		return nil
	}
	out := &model.BackendTLS{ServerName: in.ServerName, Names: in.SubjectAltNames, Identity: in.ClientCertificate == api.ClientCertificateMesh}
	roots, at := in.CACertificates, "spec.tls.caCertificates"
	var err error
	if in.CAConfigMap != nil {
		at = "spec.tls.caConfigMap"
		roots, err = c.configMapText(p.GetNamespace(), *in.CAConfigMap)
	}
	if err == nil && (roots != "" || in.CAConfigMap != nil) {
		out.Roots, err = onlyCertificates(roots)
	}
	if err != nil {
		out.Broken = err.Error()
		c.status(p.kind, p, p.at).fail(at, err.Error()+": endpoints outside the mesh are not called", "give it certificates in PEM")
	}
	return out
}

// configMapText reads an entry of a ConfigMap that has our label.
func (c *compiler) configMapText(namespace string, ref api.ConfigMapKey) (string, error) {
	for _, m := range c.objs.ConfigMaps {
		if _, marked := m.Value.Labels[api.LabelFilterData]; !marked || m.Value.Namespace != namespace || m.Value.Name != ref.Name {
			continue
		}
		if text, ok := m.Value.Data[ref.Key]; ok {
			return text, nil
		}
		return "", fmt.Errorf("ConfigMap %s has no entry %s in its data", ref.Name, ref.Key)
	}
	return "", fmt.Errorf("there is no ConfigMap %s with the label %s", ref.Name, api.LabelFilterData)
}

// onlyCertificates takes the certificates out of a PEM text and writes them anew: Envoy refuses a whole cluster
// for one that it cannot read.
func onlyCertificates(text string) (string, error) {
	var out []byte
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return "", fmt.Errorf("the roots hold a %s, not only certificates", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("one of the roots is no certificate: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if len(out) == 0 {
		return "", fmt.Errorf("there is no certificate in PEM")
	}
	return string(out), nil
}
