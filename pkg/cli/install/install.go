package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/weftmesh/weft/pkg/api"
)

// Release is the name of the Helm release.
const Release = "weft"

// Options of Run.
type Options struct {
	// Getter makes connections; its namespace is weft-system.
	Getter genericclioptions.RESTClientGetter
	// Values over the chart's own.
	Values Values
	// DryRun renders against the cluster and changes nothing.
	DryRun bool
	// Wait until the programs are ready, at most Timeout.
	Wait bool
	// Timeout of the whole; 5 minutes when zero.
	Timeout time.Duration
}

// Result of Run.
type Result struct {
	Upgraded bool // there was a release already
	Revision int
	Manifest string
	Notes    string
}

func (o *Options) configuration() (*action.Configuration, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	// Fields belong to who applies them, by name: under Helm's own, it and we can take turns.
	kube.ManagedFieldsManager = "helm"
	cfg := action.NewConfiguration()
	cfg.SetLogger(slog.DiscardHandler) // what matters comes back as an error
	if err := cfg.Init(o.Getter, api.SystemNamespace, ""); err != nil {
		return nil, fmt.Errorf("start helm: %w", err)
	}
	return cfg, nil
}

// Deployed reports the revision of the release in the cluster, 0 when there is none.
func Deployed(o Options) (int, error) {
	cfg, err := o.configuration()
	if err != nil {
		return 0, err
	}
	return deployed(cfg)
}

func deployed(cfg *action.Configuration) (int, error) {
	last, err := cfg.Releases.Last(Release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the Helm release %s: %w", Release, err)
	}
	a, err := release.NewAccessor(last)
	if err != nil {
		return 0, err
	}
	return a.Version(), nil
}

// Run installs the chart, or upgrades the release that is there; values that were given before stay.
func Run(ctx context.Context, o Options) (*Result, error) {
	cfg, err := o.configuration()
	if err != nil {
		return nil, err
	}
	c, err := Chart()
	if err != nil {
		return nil, err
	}
	given, err := o.Values.Merge()
	if err != nil {
		return nil, err
	}
	revision, err := deployed(cfg)
	if err != nil {
		return nil, err
	}
	strategy, dry := kube.HookOnlyStrategy, action.DryRunNone
	if o.Wait {
		strategy = kube.StatusWatcherStrategy
	}
	if o.DryRun {
		dry = action.DryRunServer
	}
	first := revision == 0
	if _, err := cfg.Releases.Deployed(Release); errors.Is(err, driver.ErrNoDeployedReleases) {
		first = true // only failed ones so far, which Helm upgrades not
	}
	var rel release.Releaser
	if first {
		i := action.NewInstall(cfg)
		i.Replace = true
		i.ReleaseName, i.Namespace, i.CreateNamespace = Release, api.SystemNamespace, true
		i.DryRunStrategy, i.HideSecret, i.WaitStrategy, i.Timeout = dry, o.DryRun, strategy, o.Timeout
		rel, err = i.RunWithContext(ctx, c, given)
	} else {
		u := action.NewUpgrade(cfg)
		u.Namespace, u.ResetThenReuseValues, u.MaxHistory = api.SystemNamespace, true, 10
		u.DryRunStrategy, u.HideSecret, u.WaitStrategy, u.Timeout, u.ServerSideApply = dry, o.DryRun, strategy, o.Timeout, "auto"
		rel, err = u.RunWithContext(ctx, Release, c, given)
	}
	if err != nil {
		return nil, err
	}
	a, err := release.NewAccessor(rel)
	if err != nil {
		return nil, err
	}
	return &Result{Upgraded: !first, Revision: a.Version(), Manifest: a.Manifest(), Notes: a.Notes()}, nil
}

// ErrNotInstalled is wrapped when there is no release to uninstall.
var ErrNotInstalled = errors.New("no Helm release " + Release + " in namespace " + api.SystemNamespace)

// Remove uninstalls the release and waits until its objects are gone. What the chart keeps, as the CRDs with
// everybody's policies, stays.
func Remove(o Options) (info string, err error) {
	cfg, err := o.configuration()
	if err != nil {
		return "", err
	}
	revision, err := deployed(cfg)
	if err != nil {
		return "", err
	}
	if revision == 0 {
		return "", ErrNotInstalled
	}
	u := action.NewUninstall(cfg)
	u.DryRun, u.Timeout, u.WaitStrategy, u.DeletionPropagation = o.DryRun, o.Timeout, kube.StatusWatcherStrategy, "foreground"
	if !o.Wait {
		u.WaitStrategy = kube.HookOnlyStrategy
	}
	resp, err := u.Run(Release)
	if err != nil {
		return "", err
	}
	if resp != nil {
		info = resp.Info
	}
	return info, nil
}
