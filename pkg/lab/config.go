package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Config is everything a lab is made from. It is kept in the state directory, so that later commands need
// only the name.
type Config struct {
	Layout
	// Manifests are folders of YAML, read again on every change. Absolute paths.
	Manifests []string `json:"manifests"`
	// BinDir holds the mesh's and the shop's programs. Default: where the running program is.
	BinDir string `json:"binDir"`
	// Images leads from image (without tag) to program, beside the names that the lab knows.
	Images map[string]string `json:"images,omitempty"`
	// Envoy is the program that waypoints start. Default: what bootstrap.FindEnvoy finds, if anything.
	Envoy string `json:"envoy,omitempty"`
	// NeedEnvoy has Complete fail without an Envoy even when no manifest asks for a waypoint yet.
	NeedEnvoy bool `json:"-"`
	// NoMesh leaves the mesh's programs out: only nodes, pods and services.
	NoMesh bool `json:"noMesh,omitempty"`
	// TunnelTLS drives ztunnels' tunnels: stdlib or records. Empty: the program's default.
	TunnelTLS string `json:"tunnelTLS,omitempty"`
	// SameNodeHandOver is the agents' flag of that name: never or always. Empty: the program's default.
	SameNodeHandOver string `json:"sameNodeHandOver,omitempty"`
	// CertTTL is the lifetime of workload certificates. Default 24 h.
	CertTTL time.Duration `json:"certTTL,omitempty"`
	// Owner, when set, is the process that the lab lives for: when it is gone, the lab goes.
	Owner ProcessID `json:"owner,omitzero"`
	// Debug makes the mesh's programs log at debug level.
	Debug bool `json:"debug,omitempty"`
}

// ErrNoLab is wrapped when a lab of a name does not exist.
var ErrNoLab = errors.New("no such lab")

// Complete fills in defaults and makes paths absolute.
func (c *Config) Complete() error {
	if c.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the mesh's programs: %w", err)
		}
		c.BinDir = filepath.Dir(self)
	}
	var err error
	if c.BinDir, err = filepath.Abs(c.BinDir); err != nil {
		return fmt.Errorf("the mesh's programs: %w", err)
	}
	for image, program := range c.Images {
		if c.Images[image], err = filepath.Abs(program); err != nil {
			return fmt.Errorf("program for image %s: %w", image, err)
		}
	}
	for i, dir := range c.Manifests {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("manifests %s: %w", dir, err)
		}
		if st, err := os.Stat(abs); err != nil {
			return fmt.Errorf("manifests: %w", err)
		} else if !st.IsDir() {
			return fmt.Errorf("manifests %s: want a folder of YAML files, the lab watches it", dir)
		}
		c.Manifests[i] = abs
	}
	if err := c.Validate(); err != nil || c.NoMesh {
		return err
	}
	for _, program := range meshBinaries {
		if _, err := os.Stat(filepath.Join(c.BinDir, program)); err != nil {
			return fmt.Errorf("the mesh's programs: %w (run make build, name their folder with --bin, or go without a mesh: --no-mesh)", err)
		}
	}
	return c.findEnvoy()
}

// Load reads the configuration of a lab that was raised. Errors wrap ErrNoLab when there is none.
func Load(name string) (*Config, error) {
	l := Layout{Name: name, Nodes: 1}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(l.Path("lab.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q (raised ones: %v; raise one: weftctl lab up -f DIR)", ErrNoLab, name, Names())
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	c := new(Config)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	return c, nil
}

// Save writes the configuration into the state directory, which is made.
func (c *Config) Save() error { return writeJSON(c.Path("lab.json"), c) }

// Names lists the labs of this machine.
func Names() []string {
	entries, _ := os.ReadDir(StateRoot)
	names := []string{}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(StateRoot, e.Name(), "lab.json")); err == nil {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
