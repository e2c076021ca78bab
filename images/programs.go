package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// program is what one image is made for.
type program struct {
	name  string
	about string // one line for people
	user  string // of the image's configuration
	// beside are further programs: name → path in the image.
	beside map[string]string
	envoy  bool // it also holds Envoy
	dirs   []file
}

var programs = []program{
	{
		name: "weft-controller", about: "Weft's controller: configuration, certificates, waypoints", user: "65532:65532",
		dirs: []file{{path: "/var/run/weft/ca", mode: 0o700, uid: nobody, dir: true}},
	},
	{
		name: "weft-agent", about: "Weft's node agent: eBPF redirection, and the CNI plugin that it installs", user: "0:0",
		beside: map[string]string{"weft-cni": "/opt/weft/bin/weft-cni"},
	},
	{name: "weft-ztunnel", about: "Weft's node proxy: mutual TLS tunnels and L4 policy", user: "0:0"},
	{
		name: "weft-waypoint", about: "Weft's waypoint: a stock Envoy and its launcher", user: "65532:65532", envoy: true,
		dirs: []file{{path: "/run/weft-waypoint", mode: 0o700, uid: nobody, dir: true}},
	},
}

// input is where the parts for one platform lie on this machine.
type input struct {
	bin   string // folder of our programs
	envoy string // Envoy's binary; empty: no waypoint image for this platform
}

// contents are the layers of an image, what changes least first.
func (p program) contents(in input) (layers [][]file, err error) {
	base := append(baseFiles(), p.dirs...)
	if p.envoy {
		libs, err := sharedLibraries(in.envoy)
		if err != nil {
			return nil, err
		}
		layers = append(layers, append(base, libs...), []file{{path: "/usr/local/bin/envoy", mode: 0o755, from: in.envoy}})
	} else {
		layers = append(layers, base)
	}
	own := []file{{path: "/usr/local/bin/" + p.name, mode: 0o755, from: filepath.Join(in.bin, p.name)}}
	for name, path := range p.beside {
		own = append(own, file{path: path, mode: 0o755, from: filepath.Join(in.bin, name)})
	}
	for _, f := range own {
		if err := static(f.from); err != nil {
			return nil, err
		}
	}
	return append(layers, own), nil
}

// static refuses a program that the empty base cannot start.
func static(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: run `make build`", path)
	}
	loader, _, _, err := dynamic(path)
	if err == nil && loader != "" {
		err = fmt.Errorf("%s needs %s: build it with CGO_ENABLED=0", path, loader)
	}
	return err
}
