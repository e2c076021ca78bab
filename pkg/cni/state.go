package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Mode of a namespace, for the time when the agent is away.
type Mode string

const (
	// Plain: pods of the namespace start without the agent.
	Plain Mode = "plain"
	// Enrolled: they wait for it.
	Enrolled Mode = "enrolled"
	// Mixed: not enrolled, but pods of it are by labels of their own. The plugin cannot see those, so all wait.
	Mixed Mode = "mixed"
)

// State is what the agent leaves behind for the plugin.
type State struct {
	// Version of this format: 1.
	Version int `json:"version"`
	// Namespaces that are known. Pods of others wait for the agent.
	Namespaces map[string]Mode `json:"namespaces"`
}

// stateVersion is what we read and write.
const stateVersion = 1

// WriteState replaces the file at path. Readers see the old one or the whole new one; on an error, the old one.
func WriteState(path string, namespaces map[string]Mode) error {
	b, err := json.Marshal(State{Version: stateVersion, Namespaces: namespaces})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("folder of the CNI state: %w", err)
	}
	tmp := path + ".tmp"
	err = os.WriteFile(tmp, append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("write the CNI state: %w", errors.Join(err, ignoreAbsent(os.Remove(tmp))))
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadState reads it.
func ReadState(path string) (State, error) {
	var s State
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read what the agent left behind: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("%s is broken: %w", path, err)
	}
	if s.Version != stateVersion {
		return State{}, fmt.Errorf("%s is of version %d, this plugin reads %d", path, s.Version, stateVersion)
	}
	return s, nil
}
