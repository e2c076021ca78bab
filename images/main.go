package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options are what the command line says.
type options struct {
	build
	hub  string // registry and path that images are named after
	out  string // folder of the archives
	push bool
	only string // one program, or all

	platforms []string // in the order given
	inputs    map[string]input
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		stop()
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, w io.Writer) error {
	if len(args) > 0 && args[0] == "pack" {
		return pack(args[1:], w)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return run(ctx, o, w)
}

func parse(args []string) (options, error) {
	o := options{inputs: map[string]input{}}
	f := flag.NewFlagSet("images", flag.ExitOnError)
	f.StringVar(&o.version, "version", "v0.0.0-dev", "version, the tag of the images")
	f.StringVar(&o.revision, "revision", "unknown", "commit that the programs were built from")
	f.StringVar(&o.hub, "hub", "ghcr.io/weftmesh", "registry and path that the images are named after")
	f.StringVar(&o.out, "out", "build/images", "folder for the archives")
	f.StringVar(&o.only, "only", "", "one program, e.g. weft-agent (default all)")
	f.BoolVar(&o.push, "push", false, "push to -hub as well")
	host := "linux/" + runtime.GOARCH
	f.Func("bin", "PLATFORM=DIR of our programs, repeatable; without PLATFORM= for "+host, func(s string) error {
		return o.input(host, s, func(in *input, dir string) { in.bin = dir })
	})
	f.Func("envoy", "PLATFORM=FILE of Envoy, repeatable; a platform without one gets no weft-waypoint", func(s string) error {
		return o.input(host, s, func(in *input, file string) { in.envoy = file })
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if len(o.platforms) == 0 {
		return o, fmt.Errorf("no -bin: name the folder that `make build` fills")
	}
	at, err := epoch(os.Getenv("SOURCE_DATE_EPOCH"))
	o.at = at
	return o, err
}

func (o *options) input(host, s string, set func(*input, string)) error {
	platform, path, ok := strings.Cut(s, "=")
	if !ok {
		platform, path = host, s
	}
	in, known := o.inputs[platform]
	if !known {
		o.platforms = append(o.platforms, platform)
	}
	set(&in, path)
	o.inputs[platform] = in
	return nil
}

// epoch reads SOURCE_DATE_EPOCH, seconds since 1970; empty is 1970.
func epoch(s string) (time.Time, error) {
	if s == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

// run makes every image; what it made goes to w, a line each.
func run(ctx context.Context, o options, w io.Writer) error {
	known := false
	for _, p := range programs {
		if o.only != "" && o.only != p.name {
			continue
		}
		known = true
		if err := one(ctx, o, p, w); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("there is no program %q", o.only)
	}
	return nil
}

func one(ctx context.Context, o options, p program, w io.Writer) error {
	ref, err := reference(o.hub, p.name, o.version)
	if err != nil {
		return err
	}
	var images []built
	for i, name := range o.platforms {
		in := o.inputs[name]
		if p.envoy && in.envoy == "" {
			fmt.Fprintf(w, "%s: none for %s, no Envoy was given for it\n", p.name, name)
			continue
		}
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return fmt.Errorf("platform %q: %w", name, err)
		}
		img, bom, err := o.image(p, *platform, in)
		if err != nil {
			return err
		}
		file := p.name
		if i > 0 { // the first platform's archives have the plain names
			file += "-" + strings.ReplaceAll(name, "/", "-")
		}
		if err := archive(o.out, file, ref, img, bom); err != nil {
			return err
		}
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s/%s.tar  %s  %s  %s\n", o.out, file, ref, name, digest)
		images = append(images, built{*platform, img})
	}
	if !o.push || len(images) == 0 {
		return nil
	}
	digest, err := push(ctx, ref, images)
	if err == nil {
		fmt.Fprintf(w, "pushed %s@%s\n", ref, digest)
	}
	return err
}
