package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/ca"
)

// A root that cert-manager keeps is taken under the names that it writes; ca.crt may be missing.
func TestSecretOfCertManager(t *testing.T) {
	made := t.TempDir()
	if err := ca.CreateRoot(made, "cluster.local", time.Now()); err != nil {
		t.Fatal(err)
	}
	files, err := readFolder(made)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string][]byte{
		"ours":           files,
		"cert-manager's": {"tls.crt": files[ca.FileCert], "tls.key": files[ca.FileKey], "ca.crt": files[ca.FileRoots]},
		"without ca.crt": {"tls.crt": files[ca.FileCert], "tls.key": files[ca.FileKey]},
	} {
		dir := filepath.Join(t.TempDir(), "ca")
		if changed, err := ca.Install(dir, authorityFiles(&corev1.Secret{Data: data}), time.Now()); err != nil || !changed {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
		if changed, err := ca.Install(dir, authorityFiles(&corev1.Secret{Data: data}), time.Now()); err != nil || changed {
			t.Errorf("%s, again: changed %v, %v", name, changed, err)
		}
		a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: dir})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(a.RootPEM()) != string(files[ca.FileRoots]) {
			t.Errorf("%s: the root is another", name)
		}
		if i, err := os.Stat(filepath.Join(dir, ca.FileKey)); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: the key's file is %v, %v", name, i.Mode(), err)
		}
	}
}

func TestFlagsThatDoNotFit(t *testing.T) {
	for name, c := range map[string]config{
		"a Secret without a cluster": {sources: []string{"dir:x"}, tokenKey: "k", caSecret: "weft-ca"},
		"keys without a cluster":     {sources: []string{"dir:x"}, tokenKey: "kubernetes"},
		"no keys":                    {sources: []string{"dir:x"}},
		"a cluster and a folder":     {sources: []string{"kubernetes", "dir:x"}},
		"no such kubeconfig":         {sources: []string{"kubernetes"}, kubeconfig: filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := openBackend(c, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
