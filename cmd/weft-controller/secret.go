package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// mirrorEvery is how often the Secret is compared with the folder.
const mirrorEvery = 10 * time.Second

// caSecret mirrors the mesh's root from a Secret into the folder that the authority reads. Its keys are the
// files of that folder, or, as cert-manager writes them, tls.crt, tls.key and ca.crt.
type caSecret struct {
	client      kubernetes.Interface
	name        string
	dir         string
	trustDomain string
	log         *zap.Logger

	said string // the last failure told
}

// wait mirrors once, as soon as that is possible; the root is made where there is none. It returns the
// error of ctx when that ended before.
func (s *caSecret) wait(ctx context.Context) error {
	return patiently(ctx, func() error { return s.mirror(ctx, true) }, func(err error, retry time.Duration) {
		s.log.Error("no certificate authority yet, nothing is served before", zap.String("secret", api.SystemNamespace+"/"+s.name), zap.Duration("retryIn", retry), zap.Error(err))
	})
}

// run goes on mirroring until ctx ends. What cannot be used leaves in force what was there before.
func (s *caSecret) run(ctx context.Context) {
	for tick := time.NewTicker(mirrorEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		err := s.mirror(ctx, false)
		if ctx.Err() != nil {
			continue
		}
		said := ""
		if err != nil {
			said = err.Error()
		}
		if said != "" && said != s.said {
			s.log.Error("the Secret of the certificate authority cannot be used, what it held before stays in use", zap.String("secret", api.SystemNamespace+"/"+s.name), zap.Error(err))
		}
		s.said = said
	}
}

func (s *caSecret) mirror(ctx context.Context, create bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	secret, err := s.client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, s.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && create {
		secret, err = s.create(ctx)
	}
	if err != nil {
		return fmt.Errorf("read the Secret of the certificate authority: %w", err)
	}
	changed, err := ca.Install(s.dir, authorityFiles(secret), time.Now())
	if changed {
		s.log.Info("certificate authority taken from the Secret", zap.String("secret", api.SystemNamespace+"/"+s.name))
	}
	return err
}

// authorityFiles names a Secret's content as the folder does.
func authorityFiles(s *corev1.Secret) map[string][]byte {
	if len(s.Data[ca.FileCert]) == 0 && len(s.Data[corev1.TLSCertKey]) > 0 {
		return map[string][]byte{ca.FileCert: s.Data[corev1.TLSCertKey], ca.FileKey: s.Data[corev1.TLSPrivateKeyKey], ca.FileRoots: s.Data["ca.crt"]}
	}
	return s.Data
}

// create makes a root and the Secret with it; of several replicas that do, one succeeds, and all take its.
func (s *caSecret) create(ctx context.Context) (*corev1.Secret, error) {
	dir, err := os.MkdirTemp("", "weft-ca-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := ca.CreateRoot(dir, s.trustDomain, time.Now()); err != nil {
		return nil, err
	}
	data, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	secrets := s.client.CoreV1().Secrets(api.SystemNamespace)
	made, err := secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: map[string]string{deploy.LabelManagedBy: deploy.ManagedBy}}, Data: data,
	}, metav1.CreateOptions{FieldManager: "weft-controller"})
	switch {
	case apierrors.IsAlreadyExists(err):
		return secrets.Get(ctx, s.name, metav1.GetOptions{})
	case err == nil:
		s.log.Info("made a root for the mesh", zap.String("secret", api.SystemNamespace+"/"+s.name), zap.String("trustDomain", s.trustDomain))
	}
	return made, err
}

// readFolder reads a folder's files by name.
func readFolder(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// patiently repeats until it succeeds, with waits that double up to 10 s.
func patiently(ctx context.Context, do func() error, failed func(error, time.Duration)) error {
	for wait := 500 * time.Millisecond; ; wait = min(wait*2, 10*time.Second) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		failed(err, wait)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}
