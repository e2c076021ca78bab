package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/source/kube"
)

// input is where objects come from.
type input interface {
	// Run calls changed with everything, and after each change, until ctx ends.
	Run(ctx context.Context, changed func(*source.Objects, []source.Problem)) error
}

// backend is what the controller works on: folders, or a cluster.
type backend struct {
	c   config
	log *zap.Logger

	api    *rest.Config          // nil: folders
	client *kubernetes.Clientset // of api
	secret *caSecret             // nil: the root is in the folder
}

// sourceKubernetes is the value of --source that reads a cluster.
const sourceKubernetes = "kubernetes"

// openBackend checks what the flags say together. Nothing is read yet.
func openBackend(c config, log *zap.Logger) (*backend, error) {
	b := &backend{c: c, log: log}
	if !slices.Contains(c.sources, sourceKubernetes) {
		switch {
		case c.caSecret != "":
			return nil, errors.New("--ca-secret needs --source kubernetes; with folders the root is in --ca-dir")
		case c.tokenKey == ofKubernetes:
			return nil, errors.New("--token-public-key kubernetes needs --source kubernetes")
		case c.tokenKey == "":
			return nil, errors.New("--token-public-key is missing: without it no caller can prove who it is. Make a key pair with: weft-controller token --create-key --key FILE --service-account weft-system/weft-ztunnel")
		}
		return b, nil
	}
	if len(c.sources) > 1 {
		return nil, errors.New("--source kubernetes cannot be given together with another --source")
	}
	b.c.tokenKey = cmp.Or(c.tokenKey, ofKubernetes)
	var err error
	if b.api, err = kube.Config(c.kubeconfig, "weft-controller"); err != nil {
		return nil, err
	}
	if b.client, err = kubernetes.NewForConfig(b.api); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if c.caSecret != "" {
		b.secret = &caSecret{client: b.client, name: c.caSecret, dir: c.caDir, trustDomain: c.trustDomain, log: log}
	}
	return b, nil
}

// authority opens the mesh's root, as soon as it is there.
func (b *backend) authority(ctx context.Context) (*ca.Authority, error) {
	if b.secret != nil {
		if err := b.secret.wait(ctx); err != nil {
			return nil, err
		}
	}
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: b.c.caDir, Create: b.secret == nil, TrustDomain: b.c.trustDomain, TTL: b.c.certTTL, Logger: b.log})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return a, nil
}

func (b *backend) input() (input, error) {
	if b.api != nil {
		return kube.New(kube.Options{Config: b.api, Logger: b.log})
	}
	var dirs []string
	for _, s := range b.c.sources {
		dir, err := source.Parse(s)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return source.Open(source.Options{Dirs: dirs, StatusDir: filepath.Join(b.c.stateDir, "status"), Logger: b.log})
}

func (b *backend) output(authority *ca.Authority, m metrics, reg prometheus.Registerer) (output, error) {
	if b.api == nil {
		b.c.deployDir = cmp.Or(b.c.deployDir, filepath.Join(b.c.stateDir, "deploy"))
		return newFolderOutput(b.c, m, b.log), nil
	}
	identity, err := b.identity()
	if err != nil {
		return nil, err
	}
	w, err := cluster.New(cluster.Options{
		Config: b.api, Identity: identity, Roots: authority.RootPEM, TaintNodes: b.c.taintNodes,
		Lease: b.c.lease, Registerer: reg, Logger: b.log,
	})
	if err != nil {
		return nil, err
	}
	return clusterOutput{w, b.log}, nil
}

// identity of this replica among the others: its pod's name.
func (b *backend) identity() (string, error) {
	host, err := os.Hostname()
	return cmp.Or(b.c.replica, os.Getenv("POD_NAME"), host), err
}

// record is what the replicas tell each other; nil where there is only one.
func (b *backend) record(p *pipeline, reg prometheus.Registerer) (*cluster.Record, error) {
	if b.client == nil {
		return nil, nil
	}
	identity, err := b.identity()
	if err != nil {
		return nil, err
	}
	return cluster.NewRecord(cluster.RecordOptions{Client: b.client, Identity: identity, Changed: p.hear, Registerer: reg, Logger: b.log}), nil
}
