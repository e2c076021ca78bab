package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// reference is HUB/PROGRAM:VERSION; a tag may not hold the + of a version.
func reference(hub, program, version string) (name.Tag, error) {
	ref, err := name.NewTag(hub + "/" + program + ":" + strings.ReplaceAll(version, "+", "_"))
	if err != nil {
		return ref, fmt.Errorf("the name of image %s: %w (HUB is a registry and a path, VERSION a tag)", program, err)
	}
	return ref, nil
}

// archive writes dir/FILE.tar, which `docker load` and `ctr images import` read, and dir/FILE.spdx.json.
// Both appear whole or not at all.
func archive(dir, file string, ref name.Tag, img v1.Image, bom []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, file+".tar")
	aside, err := os.CreateTemp(dir, file+".*.part") // two may write at once
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	err = tarball.Write(ref, img, aside)
	if cerr := aside.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(aside.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(aside.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(filepath.Join(dir, file+".spdx.json"), bom, 0o644)
}

// built is one image for one platform.
type built struct {
	platform v1.Platform
	image    v1.Image
}

// push uploads an image; of several platforms an index, under which each of them is found.
func push(ctx context.Context, ref name.Tag, images []built) (v1.Hash, error) {
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if len(images) == 1 {
		if err := remote.Write(ref, images[0].image, opts...); err != nil {
			return v1.Hash{}, fmt.Errorf("push %s: %w (`docker login` to it first?)", ref, err)
		}
		return images[0].image.Digest()
	}
	var index v1.ImageIndex = empty.Index
	for _, b := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: b.image, Descriptor: v1.Descriptor{Platform: &b.platform}})
	}
	if err := remote.WriteIndex(ref, index, opts...); err != nil {
		return v1.Hash{}, fmt.Errorf("push %s: %w (`docker login` to it first?)", ref, err)
	}
	return index.Digest()
}
