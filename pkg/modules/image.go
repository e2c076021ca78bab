package modules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// maxManifest is what a manifest may be long.
const maxManifest = 1 << 20

// fetchImage takes the module out of an OCI artifact, whose layer it is, or out of a container image that holds it
// as a file plugin.wasm. Registries are asked as nobody in particular.
func fetchImage(ctx context.Context, client *http.Client, image string) ([]byte, error) {
	repo, err := remote.NewRepository(image)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	repo.Client = &auth.Client{Client: client, Cache: auth.NewCache()}
	desc, r, err := repo.FetchReference(ctx, repo.Reference.Reference)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	defer r.Close()
	if desc.Size > maxManifest {
		return nil, fmt.Errorf("image %s: its manifest is too large", image)
	}
	data, err := content.ReadAll(r, desc)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("image %s: its manifest: %w", image, err)
	}
	for _, layer := range manifest.Layers {
		code, err := fromLayer(ctx, repo, layer)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image, err)
		}
		if code != nil {
			return code, nil
		}
	}
	return nil, fmt.Errorf("image %s holds no module: want a layer of type application/wasm, or a file plugin.wasm", image)
}

// fromLayer is nil where the layer holds no module.
func fromLayer(ctx context.Context, repo *remote.Repository, layer v1.Descriptor) ([]byte, error) {
	packed := strings.HasSuffix(layer.MediaType, "tar+gzip") || strings.HasSuffix(layer.MediaType, "tar.gzip")
	if !packed && !strings.Contains(layer.MediaType, "wasm") || strings.Contains(layer.MediaType, "config") {
		return nil, nil
	}
	if layer.Size > MaxBytes {
		return nil, fmt.Errorf("layer %s is larger than %d MiB", layer.Digest, MaxBytes>>20)
	}
	r, err := repo.Blobs().Fetch(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := content.ReadAll(r, layer) // compares its digest
	if err != nil || !packed {
		return data, err
	}
	return fromArchive(data)
}

func fromArchive(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(io.LimitReader(z, 4*MaxBytes))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && path.Base(h.Name) == "plugin.wasm" {
			return bounded(archive)
		}
	}
}
