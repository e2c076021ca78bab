package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/e2e/soak/calls"
	"github.com/weftmesh/weft/pkg/lab"
)

type options struct {
	length time.Duration
	sample time.Duration
	rate   float64
	name   string
	bin    string // absolute
	out    string
	envoy  string
	ttl    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "call" {
		err = call(ctx, os.Args[2:])
	} else {
		err = command(ctx, os.Args[1:])
	}
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "weft-soak: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "weft-soak:", err)
		os.Exit(1)
	}
}

// call is what runs inside the pods: call [-rate R] [-once] ROLE.
func call(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("call", flag.ExitOnError)
	rate := fs.Float64("rate", 1, "multiplies the rate of every kind of call")
	once := fs.Bool("once", false, "make one call of each kind and say whether all went as they should")
	_ = fs.Parse(args)
	if *once {
		return calls.Once(ctx, calls.Role(fs.Arg(0)))
	}
	return calls.Run(ctx, calls.Role(fs.Arg(0)), *rate, 2*time.Second, os.Stdout)
}

func command(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("weft-soak", flag.ExitOnError)
	o := options{}
	minutes := fs.Float64("minutes", 30, "how long calls are made")
	fs.DurationVar(&o.sample, "sample", 10*time.Second, "how often everything is looked at")
	fs.Float64Var(&o.rate, "rate", 1, "multiplies the rate of calls (about 55 a second)")
	fs.StringVar(&o.name, "name", "soak", "name of the lab")
	fs.StringVar(&o.bin, "bin", "", "folder of the programs (default: where this one is)")
	fs.StringVar(&o.out, "out", "", "file for the figures, JSON")
	fs.StringVar(&o.envoy, "envoy", os.Getenv("WEFT_ENVOY"), "Envoy for the waypoint")
	fs.DurationVar(&o.ttl, "cert-ttl", 2*time.Minute, "lifetime of certificates, renewed at half of it")
	_ = fs.Parse(args)
	if os.Geteuid() != 0 {
		return errors.New("the soak raises a lab, which makes network namespaces and loads eBPF: run it as root")
	}
	o.length = time.Duration(*minutes * float64(time.Minute))
	if o.length < 30*time.Second {
		return fmt.Errorf("-minutes %v: want at least 0.5, shorter says nothing", *minutes)
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
	s, err := newSoak(o)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// run raises the lab, soaks it, says what came of it and takes it down, whatever happened.
func (s *soak) run(ctx context.Context) (err error) {
	defer func() {
		err = errors.Join(err, lab.Down(s.lab), os.RemoveAll(s.manifests))
		if left := lab.Leftovers(s.lab); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("left behind: %v", left))
		}
	}()
	if err := s.raise(ctx); err != nil {
		return err
	}
	s.work(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := s.report()
	if s.o.out != "" {
		if err := r.write(s.o.out); err != nil {
			return err
		}
		if len(r.Problems) > 0 {
			s.keepEvidence(strings.TrimSuffix(s.o.out, ".json") + "-evidence")
		}
	}
	r.print(os.Stdout)
	if len(r.Problems) > 0 {
		return fmt.Errorf("%d problems", len(r.Problems))
	}
	return nil
}
