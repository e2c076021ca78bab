package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Cluster is one Kubernetes cluster as one person may use it.
type Cluster struct {
	// Name is how the person calls it: the kubeconfig's context, or the server's address.
	Name string
	// Config makes connections; nil in tests of fakes.
	Config *rest.Config
	// Client is for Kubernetes' own objects.
	Client kubernetes.Interface
	// Dynamic is for Gateway API and our own.
	Dynamic dynamic.Interface
	// Mapper finds the resource of a kind; it asks the API server when it is first used.
	Mapper meta.RESTMapper
}

// Source gives kubeconfig's settings; genericclioptions.ConfigFlags is one.
type Source interface {
	ToRESTConfig() (*rest.Config, error)
	ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error)
	ToRESTMapper() (meta.RESTMapper, error)
	ToRawKubeConfigLoader() clientcmd.ClientConfig
}

// ErrNoCluster is returned when nothing says which cluster is meant.
var ErrNoCluster = errors.New("no cluster is chosen: no kubeconfig names one (--kubeconfig FILE, --context NAME, --server URL, or KUBECONFIG)")

// nobody is where kubectl's code looks when it was told nothing.
const nobody = "http://localhost:8080"

// Open reads the kubeconfig. It does not connect yet.
func Open(src Source) (*Cluster, error) {
	config, err := src.ToRESTConfig()
	if clientcmd.IsEmptyConfig(err) || errors.Is(err, clientcmd.ErrEmptyCluster) {
		return nil, ErrNoCluster
	}
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	raw, err := src.ToRawKubeConfigLoader().RawConfig()
	if err == nil && len(raw.Clusters) == 0 && config.Host == nobody {
		return nil, ErrNoCluster
	}
	config.WarningHandler = rest.NoWarnings{}
	config.QPS, config.Burst = 50, 100 // a person waits; the API server protects itself
	c := &Cluster{Name: config.Host, Config: config}
	if err == nil && raw.CurrentContext != "" {
		c.Name = raw.CurrentContext
	}
	if c.Client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	if c.Mapper, err = src.ToRESTMapper(); err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	return c, nil
}

// Explain adds the likely cause and the next step to an error of the API server.
func (c *Cluster) Explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: your user lacks this right on %s (kubectl auth can-i --list shows yours; --as another's)", err, c.Name)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: %s does not know you; log in again, or choose another user (--user, --context)", err, c.Name)
	case apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsInvalid(err):
		return err
	case apierrors.ReasonForError(err) == "":
		return fmt.Errorf("ask the API server of %s: %w (does it run, and is it the right one? --context, --kubeconfig)", c.Name, err)
	}
	return err
}

// Short is a context that lasts as long as one question to the API server may take.
func Short(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 15*time.Second)
}

// YAML writes an object as people read it.
func YAML(v any) string {
	data, err := yaml.Marshal(v)
	if err != nil {
		return "# " + err.Error() + "\n"
	}
	return string(data)
}
