package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	name      string // of the lab
	rounds    int
	limit     time.Duration // no round begins that would probably end later; 0: none
	tests     []string      // empty: all
	paths     []string      // empty: all
	bytes     int64         // of one bulk transfer
	seconds   float64       // of one timed test
	idle      int           // connections
	scale     []int         // workloads
	fleetOf   []int         // workloads that the ztunnels of a fleet are told of
	ztunnels  int           // of a fleet
	tunnelTLS string
	bin       string // absolute: weftctl and the mesh's programs
	envoy     string
	peers     []string // folders
	out       string   // JSON
	markdown  string   // file whose table is rewritten
	profile   string   // folder for profiles, which are then all that is made
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "weft-bench: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "weft-bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("weft-bench", flag.ExitOnError)
	o := options{}
	fs.StringVar(&o.name, "name", "bench", "name of the lab")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds; what is reported is the median")
	fs.DurationVar(&o.limit, "limit", 14*time.Minute, "begin no round that would probably end later than this; 0: no limit")
	tests := fs.String("tests", "", "tests to run, separated by commas (default all: "+strings.Join(testNames(), ",")+",idle,scale,fleet; by name only: noisy)")
	paths := fs.String("paths", "", "paths to measure, separated by commas (default all: direct,l4,l7 and every peer)")
	fs.Int64Var(&o.bytes, "bytes", 1<<30, "bytes of one bulk transfer")
	fs.Float64Var(&o.seconds, "seconds", 3, "length of one timed test")
	fs.IntVar(&o.idle, "idle", 10000, "connections of the test of idle ones")
	quick := fs.Bool("quick", false, "2 short rounds, small scale: says only that everything runs")
	fs.StringVar(&o.bin, "bin", "", "folder of the programs (default: where this one is)")
	fs.StringVar(&o.tunnelTLS, "tunnel-tls", os.Getenv("WEFT_TUNNEL_TLS"), "what drives ztunnels' tunnels: stdlib or records (default: weft-ztunnel's)")
	fs.StringVar(&o.envoy, "envoy", os.Getenv("WEFT_ENVOY"), "Envoy for the waypoint")
	peers := fs.String("peers", "", "folders of peers' scripts, separated by commas")
	fs.StringVar(&o.out, "out", "", "file for the figures, JSON")
	fs.StringVar(&o.markdown, "markdown", "", "file whose tables between the markers are rewritten")
	fs.StringVar(&o.profile, "profile", "", "measure nothing: profile the ztunnels at work, and keep the profiles in this folder")
	sizes := fs.String("workloads", "", "sizes of the meshes of the tests of scale and of a fleet, separated by commas")
	fs.IntVar(&o.ztunnels, "ztunnels", 1000, "simulated ztunnels of the test of a fleet")
	_ = fs.Parse(args)
	o.tests, o.paths, o.peers, o.scale = list(*tests), list(*paths), list(*peers), []int{1000, 10_000, 100_000}
	o.fleetOf = []int{10_000, 100_000}
	if *quick {
		o.fleetOf, o.ztunnels = []int{1000}, min(o.ztunnels, 50)
		o.rounds, o.bytes, o.seconds, o.idle, o.scale = 2, 32<<20, 0.5, 200, []int{1000}
	}
	for i, text := range list(*sizes) {
		if i == 0 {
			o.scale, o.fleetOf = nil, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-workloads %s: want numbers", *sizes)
		}
		o.scale, o.fleetOf = append(o.scale, n), append(o.fleetOf, n)
	}
	if o.rounds < 1 {
		return fmt.Errorf("-rounds %d: want at least 1", o.rounds)
	}
	if os.Geteuid() != 0 && o.needsLab() {
		return errors.New("the benchmark raises a lab, which makes network namespaces and loads eBPF: run it as root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.bin == "" {
		o.bin = filepath.Dir(self)
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	return run(ctx, o)
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// run measures everything, prints it and writes it.
func run(ctx context.Context, o options) (err error) {
	r := newReport(o)
	if o.profile != "" {
		o.tests, o.paths = []string{"profile"}, []string{"l4"}
	}
	if wanted(o.tests, "scale") {
		if err := r.measureScale(ctx, o); err != nil {
			return err
		}
	}
	if wanted(o.tests, "fleet") {
		if err := r.measureFleet(ctx, o); err != nil {
			return err
		}
	}
	if o.needsLab() {
		if err := r.measureTraffic(ctx, o); err != nil {
			return err
		}
	}
	r.summarise()
	r.print(os.Stdout)
	if o.out != "" {
		if err := r.write(o.out); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		return r.rewrite(o.markdown)
	}
	return nil
}

// needsLab reports whether anything is to be measured that carries traffic.
func (o options) needsLab() bool {
	return len(o.tests) == 0 || slices.ContainsFunc(o.tests, func(t string) bool { return t != "scale" && t != "fleet" })
}

// measureTraffic raises the lab and takes it down.
func (r *report) measureTraffic(ctx context.Context, o options) (err error) {
	w, err := raise(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.down()) }()
	r.LeftOut = w.leftOut
	if o.profile != "" {
		return r.profileAll(ctx, w)
	}
	if wanted(o.tests, "idle") {
		if err := r.measureIdle(ctx, w); err != nil {
			return err
		}
	}
	if o.asked("noisy") {
		if err := r.measureNoise(ctx, w); err != nil {
			return err
		}
	}
	return r.measureRounds(ctx, w)
}

// asked reports whether a test was asked for by name: it is not one of those that run without.
func (o options) asked(test string) bool { return slices.Contains(o.tests, test) }

func wanted(list []string, name string) bool {
	for _, one := range list {
		if one == name {
			return true
		}
	}
	return len(list) == 0
}
