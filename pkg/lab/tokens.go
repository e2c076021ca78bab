package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
)

// tokenTTL is how long a token of the lab is good for.
const tokenTTL = 24 * time.Hour

// rootConfigMap is the only ConfigMap that a pod of the lab can mount: the mesh's root certificates.
const rootConfigMap = "weft-root"

func (l Layout) caDir() string          { return l.Path("ca") }
func (l Layout) tokenKey() string       { return l.Path("tokens", "key.pem") }
func (l Layout) tokenPublicKey() string { return l.Path("tokens", "key.pem.pub") }
func (l Layout) rootCert() string       { return l.Path("ca", "root-cert.pem") }

// prepareTrust makes the mesh's root and the key that signs the lab's service-account tokens.
func prepareTrust(l Layout, trustDomain string) error {
	if err := ca.CreateRoot(l.caDir(), trustDomain, time.Now()); err != nil {
		return fmt.Errorf("make the mesh's root: %w", err)
	}
	return ca.CreateTokenKey(l.tokenKey())
}

// mintFile writes a token of the service account into a file of mode 0600.
func mintFile(l Layout, path, serviceAccount, node, pod, audience string) error {
	token, err := ca.MintToken(ca.MintOptions{
		KeyFile: l.tokenKey(), ServiceAccount: serviceAccount, Node: node, Pod: pod, TTL: tokenTTL, Audience: audience,
	})
	if err != nil {
		return err
	}
	if err := writeFile(path, []byte(token)); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}

func (r *podRuntime) writeToken(path, audience string) error {
	return mintFile(r.k.Layout, path, r.pod.Namespace+"/"+r.pod.Spec.ServiceAccountName, r.pod.Spec.NodeName, r.pod.Name, audience)
}

func (r *podRuntime) writeConfigMap(dir, name string) error {
	if name != rootConfigMap {
		return fmt.Errorf("config map %s: a lab has only %s", name, rootConfigMap)
	}
	pem, err := os.ReadFile(r.k.Layout.rootCert())
	if err != nil {
		return fmt.Errorf("config map %s: %w", name, err)
	}
	return writeFile(filepath.Join(dir, "root-cert.pem"), pem)
}
