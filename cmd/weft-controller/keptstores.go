package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/pkg/api"
)

const keysSecret = "weft-jwks" // the chart makes it: the right to create any Secret is not needed for it

// keyStore of the backend: a Secret of the controller's namespace, or files below the folder of state.
func (b *backend) keyStore() keyStore {
	if b.client != nil {
		return keysInSecret{b.client}
	}
	return keysInFolder(filepath.Join(b.c.stateDir, "jwks"))
}

// keysInSecret keeps each set as an entry of one Secret.
type keysInSecret struct{ client kubernetes.Interface }

func (s keysInSecret) read(ctx context.Context) (map[string][]byte, error) {
	secret, err := s.client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, keysSecret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read Secret %s, which Weft's chart makes: %w", keysSecret, err)
	}
	return secret.Data, nil
}

func (s keysInSecret) write(ctx context.Context, entries map[string][]byte) error {
	patch, err := json.Marshal(map[string]any{"data": entries})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().Secrets(api.SystemNamespace).Patch(ctx, keysSecret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "weft-controller"})
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", keysSecret, err)
	}
	return nil
}

// keysInFolder keeps each set in a file.
type keysInFolder string

func (dir keysInFolder) read(context.Context) (map[string][]byte, error) {
	files, err := filepath.Glob(filepath.Join(string(dir), "*.json"))
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			out[strings.TrimSuffix(filepath.Base(file), ".json")] = data
		}
	}
	return out, nil
}

func (dir keysInFolder) write(_ context.Context, entries map[string][]byte) error {
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return err
	}
	var failed error
	for name, data := range entries {
		failed = errors.Join(failed, dir.put(name, data))
	}
	return failed
}

func (dir keysInFolder) put(name string, data []byte) error {
	file := filepath.Join(string(dir), name+".json")
	if data == nil {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	tmp := filepath.Join(string(dir), "."+name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
