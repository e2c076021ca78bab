package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/jwks"
)

const (
	keysSecret  = "weft-jwks" // the chart makes it: the right to create any Secret is not needed for it
	keysSize    = 768 << 10   // of all sets in it; a Secret holds 1 MiB
	keysTimeout = 5 * time.Second
)

// keeper keeps the last good key sets of token issuers where the next run, or another replica, finds them.
type keeper interface {
	// load is what was kept, by name; as much as can be read.
	load(ctx context.Context) (map[string]jwks.Kept, error)
	keep(ctx context.Context, name string, k jwks.Kept) error
}

// keeper of the backend: a Secret of the controller's namespace, or files below the folder of state.
func (b *backend) keeper() keeper {
	if b.client != nil {
		return &keysInSecret{client: b.client}
	}
	return keysInFolder(filepath.Join(b.c.stateDir, "jwks"))
}

// keeping joins a keeper to the options of the fetcher. What cannot be kept is told; nothing else depends on it.
func keeping(ctx context.Context, k keeper, o jwks.Options) jwks.Options {
	limited, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	var err error
	if o.Kept, err = k.load(limited); err != nil {
		o.Logger.Warn("no keys of token issuers are known from before: until they are fetched their tokens are refused", zap.Error(err))
	}
	o.Keep = func(name string, kept jwks.Kept) {
		limited, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		if err := k.keep(limited, name, kept); err != nil && ctx.Err() == nil {
			o.Logger.Warn("the keys of a token issuer are not kept: after a restart its tokens are refused until they are fetched", zap.String("uri", kept.URI), zap.Error(err))
		}
	}
	return o
}

// keysInSecret keeps each set as an entry of one Secret.
type keysInSecret struct {
	client  kubernetes.Interface
	writing sync.Mutex // one write at a time
}

func (s *keysInSecret) load(ctx context.Context) (map[string]jwks.Kept, error) {
	secret, err := s.client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, keysSecret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read Secret %s, which Weft's chart makes: %w", keysSecret, err)
	}
	out := map[string]jwks.Kept{}
	for name, data := range secret.Data {
		var k jwks.Kept
		if json.Unmarshal(data, &k) == nil {
			out[name] = k
		}
	}
	return out, nil
}

// keep writes one entry, and takes out those that are too old to be used, and the oldest of more than fit.
func (s *keysInSecret) keep(ctx context.Context, name string, k jwks.Kept) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	all, err := s.load(ctx)
	if err != nil {
		return err
	}
	if had, ok := all[name]; ok && had.Keys == k.Keys && k.Fetched.Sub(had.Fetched) < time.Minute {
		return nil // another replica has just done it
	}
	data := map[string][]byte{}
	if data[name], err = json.Marshal(k); err != nil {
		return err
	}
	for _, old := range tooMany(all, name, k.Fetched, len(data[name])) {
		data[old] = nil
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().Secrets(api.SystemNamespace).Patch(ctx, keysSecret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "weft-controller"})
	return err
}

// tooMany names what is to go to make room for size bytes beside it, the oldest first.
func tooMany(all map[string]jwks.Kept, but string, now time.Time, size int) []string {
	var names, out []string
	for name, k := range all {
		switch {
		case name == but:
		case k.Old(now):
			out = append(out, name)
		default:
			names = append(names, name)
			size += len(k.Keys) + len(k.URI) + 128
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(all[a].Fetched.Compare(all[b].Fetched), strings.Compare(a, b))
	})
	for _, name := range names {
		if size <= keysSize {
			break
		}
		size -= len(all[name].Keys) + len(all[name].URI) + 128
		out = append(out, name)
	}
	return out
}

// keysInFolder keeps each set in a file.
type keysInFolder string

func (dir keysInFolder) load(context.Context) (map[string]jwks.Kept, error) {
	files, err := filepath.Glob(filepath.Join(string(dir), "*.json"))
	if err != nil {
		return nil, err
	}
	out := map[string]jwks.Kept{}
	for _, file := range files {
		var k jwks.Kept
		data, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(data, &k) != nil || k.Old(time.Now()) {
			_ = os.Remove(file)
			continue
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = k
	}
	return out, nil
}

func (dir keysInFolder) keep(_ context.Context, name string, k jwks.Kept) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(string(dir), "."+name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(string(dir), name+".json"))
}
