package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// config is what the flags say.
type config struct {
	node, bpfRoot, statusDir string
	sources                  []string
	netns, netnsPattern      string
	kubeconfig               string
	zdsSocket, cniSocket     string
	cni                      cniConfig
	kubeletCgroups           []string
	adminSocket, metrics     string
	sameNode                 string
	handOver                 string
	maxPods                  int
	linger                   time.Duration
	logLevel, logFormat      string
}

// validate checks what every subcommand needs.
func (c config) validate() error {
	var errs []error
	switch {
	case c.node == "":
		errs = append(errs, errors.New("--node is required"))
	case strings.ContainsAny(c.node, "/\x00") || strings.HasPrefix(c.node, "."):
		errs = append(errs, fmt.Errorf("--node %q: not a name for a folder of pins", c.node))
	}
	if !filepath.IsAbs(c.bpfRoot) {
		errs = append(errs, fmt.Errorf("--bpf-root %q: want an absolute path on a bpffs", c.bpfRoot))
	}
	return errors.Join(errs...)
}

// Values of flags.
const (
	sourceKubernetes = "kubernetes"
	netnsAuto        = "auto"
	kubeletAuto      = "auto"
)

// kubernetes tells whether pods are read from a cluster.
func (c config) kubernetes() bool { return slices.Equal(c.sources, []string{sourceKubernetes}) }

// direct tells whether pods may talk directly where nothing else is said.
func (c config) direct() bool { return c.sameNode == api.SameNodeDirect }

// autoNetns tells whether namespaces are found by the pods' processes.
func (c config) autoNetns() bool {
	return c.netns == netnsAuto || c.netns == "" && c.netnsPattern == "" && c.kubernetes()
}

// validateRun checks what only the agent itself needs.
func (c config) validateRun() error {
	errs := []error{c.validate()}
	required := map[string]string{"--zds-socket": c.zdsSocket}
	if !c.kubernetes() {
		required["--status-dir"] = c.statusDir
	}
	if !c.autoNetns() {
		required["--netns-pattern"] = c.netnsPattern
	}
	for flag, v := range required {
		if v == "" {
			errs = append(errs, fmt.Errorf("%s is required", flag))
		}
	}
	if c.netns != "" && c.netns != netnsAuto {
		errs = append(errs, fmt.Errorf("--netns %q: the only value is auto; a path is --netns-pattern", c.netns))
	}
	if c.netns != "" && c.netnsPattern != "" {
		errs = append(errs, errors.New("--netns auto and --netns-pattern exclude each other"))
	}
	if len(c.sources) == 0 {
		errs = append(errs, errors.New("--source is required: kubernetes, or dir:PATH, the folder with pods and namespaces"))
	}
	if len(c.sources) > 1 && slices.Contains(c.sources, sourceKubernetes) {
		errs = append(errs, errors.New("--source kubernetes excludes other sources"))
	}
	if c.cniSocket != "" && (!c.kubernetes() || !c.autoNetns()) {
		errs = append(errs, errors.New("--cni-socket needs --source kubernetes and --netns auto"))
	}
	if c.sameNode != api.SameNodeDirect && c.sameNode != api.SameNodeEncrypt {
		errs = append(errs, fmt.Errorf("--same-node %q: want direct or encrypt", c.sameNode))
	}
	switch {
	case !slices.Contains([]string{handNever, handUnselected, handAlways}, c.handOver):
		errs = append(errs, fmt.Errorf("--same-node-hand-over %q: want never, unselected or always", c.handOver))
	case c.handOver == handUnselected && !c.kubernetes():
		errs = append(errs, errors.New("--same-node-hand-over unselected needs --source kubernetes, where NetworkPolicies are; want never or always"))
	}
	errs = append(errs, c.cni.validate(c.cniSocket))
	if len(c.kubeletCgroups) > 1 && slices.Contains(c.kubeletCgroups, kubeletAuto) {
		errs = append(errs, errors.New("--kubelet-cgroup auto excludes others"))
	}
	return errors.Join(errs...)
}

// dirs are the folders of the sources.
func (c config) dirs() (dirs []string, err error) {
	for _, s := range c.sources {
		d, err := source.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("--source: %w", err)
		}
		dirs = append(dirs, d)
	}
	return dirs, nil
}

func (c config) logger() (*zap.Logger, zap.AtomicLevel, error) {
	l, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return nil, zap.AtomicLevel{}, fmt.Errorf("--log-level %q: want debug, info, warn or error", c.logLevel)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.DisableStacktrace = true
	switch c.logFormat {
	case "json":
	case "text":
		cfg.Encoding = "console"
	default:
		return nil, zap.AtomicLevel{}, fmt.Errorf("--log-format %q: want text or json", c.logFormat)
	}
	log, err := cfg.Build()
	if err != nil {
		return nil, zap.AtomicLevel{}, fmt.Errorf("log: %w", err)
	}
	return log, cfg.Level, nil
}
