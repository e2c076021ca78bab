package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const source = "https://github.com/weftmesh/weft"

// build says of a whole run what every image carries.
type build struct {
	version  string
	revision string
	at       time.Time // of every entry and every image
}

// image puts one program's image together and returns its list of parts too.
func (b build) image(p program, platform v1.Platform, in input) (v1.Image, []byte, error) {
	contents, err := p.contents(in)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s for %s: %w", p.name, platform, err)
	}
	return b.assemble(p, platform, contents)
}

// assemble makes an image of layers, the list of parts in the last one.
func (b build) assemble(p program, platform v1.Platform, contents [][]file) (v1.Image, []byte, error) {
	bom, err := b.sbom(p, platform, contents)
	if err != nil {
		return nil, nil, fmt.Errorf("list the parts of %s: %w", p.name, err)
	}
	last := len(contents) - 1
	contents[last] = append(contents[last], file{path: "/usr/share/sbom/" + p.name + ".spdx.json", mode: 0o644, content: bom})

	img, err := mutate.ConfigFile(empty.Image, b.config(p, platform))
	if err != nil {
		return nil, nil, err
	}
	for _, files := range contents {
		layer, err := b.layer(files)
		if err != nil {
			return nil, nil, fmt.Errorf("image %s for %s: %w", p.name, platform, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{
			Created: v1.Time{Time: b.at}, CreatedBy: "weft images",
		}})
		if err != nil {
			return nil, nil, err
		}
	}
	return img, bom, nil
}

func (b build) config(p program, platform v1.Platform) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant,
		Created: v1.Time{Time: b.at}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: p.user, Entrypoint: []string{"/usr/local/bin/" + p.name}, WorkingDir: "/",
			Env: []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
			Labels: map[string]string{
				"org.opencontainers.image.title":         p.name,
				"org.opencontainers.image.description":   p.about,
				"org.opencontainers.image.version":       b.version,
				"org.opencontainers.image.revision":      b.revision,
				"org.opencontainers.image.created":       b.at.Format(time.RFC3339),
				"org.opencontainers.image.source":        source,
				"org.opencontainers.image.url":           source,
				"org.opencontainers.image.documentation": source + "/tree/main/docs",
				"org.opencontainers.image.vendor":        "Weft",
				"org.opencontainers.image.licenses":      "Apache-2.0",
			},
		},
	}
}

// layer compresses once and keeps that: a digest, an archive and a push all ask for it.
func (b build) layer(files []file) (v1.Layer, error) {
	var plain bytes.Buffer
	if err := writeTar(&plain, files, b.at); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(plain.Bytes())), nil
	}, tarball.WithCompressedCaching)
}
