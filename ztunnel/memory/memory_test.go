package memory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/weftmesh/weft/pkg/telemetry"
)

func TestLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		own   string
		want  int64
	}{
		"own":           {map[string]string{"a/b": "1000"}, "0::/a/b\n", 1000},
		"around":        {map[string]string{"a/b": "max", "a": "500"}, "0::/a/b\n", 500},
		"lowest":        {map[string]string{"a/b": "1000", "a": "500"}, "0::/a/b\n", 500},
		"none":          {map[string]string{"a/b": "max"}, "0::/a/b\n", 0},
		"no file":       {nil, "0::/a/b\n", 0},
		"own namespace": {map[string]string{".": "700"}, "0::/\n", 700},
		"mixed":         {map[string]string{"x": "1"}, "12:memory:/y\n0::/x\n", 1},
	} {
		mount := t.TempDir()
		for dir, text := range tc.files {
			if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mount, dir, "memory.max"), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := cgroupOf(mount, tc.own)
		if got := c.Limit(); err != nil || got != tc.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, tc.want)
		}
	}
	if _, err := cgroupOf(t.TempDir(), "4:memory:/x\n"); err == nil || !strings.Contains(err.Error(), "--memory-limit") {
		t.Errorf("version 1: %v", err)
	}
}

func TestKernel(t *testing.T) {
	mount := t.TempDir()
	c := Cgroup{mount: mount, own: "/"}
	if got := c.Kernel(); got != 0 {
		t.Errorf("nobody says, but %d", got)
	}
	if err := os.WriteFile(filepath.Join(mount, "memory.stat"), []byte("anon 5\nkernel 99\nkernel_stack 1024\npagetables 512\nsock 4096\nsocket 7\nslab_reclaimable 50\nslab_unreclaimable 2048\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.Kernel(); got != 4096+2048+1024+512 {
		t.Errorf("got %d", got)
	}
}

// Refused near the limit, and until it is well below; each time is told once.
func TestRefusesWhenNearlyUsedUp(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var use int64
	m := telemetry.NewMetrics(telemetry.Options{})
	b := New(Options{Limit: 1000 << 20, Use: func() int64 { return use << 20 }, Metrics: m, Log: zap.New(core)})
	for _, step := range []struct {
		use  int64
		full bool
		told int
	}{{0, false, 0}, {749, false, 0}, {750, true, 1}, {2000, true, 1}, {650, true, 1}, {649, false, 2}, {749, false, 2}, {800, true, 3}} {
		use = step.use
		b.look()
		f := b.Refusal()
		if (f != nil) != step.full || logs.Len() != step.told {
			t.Errorf("at %d MiB: %v, %d lines", step.use, f, logs.Len())
		}
		if f != nil && (f.Flag != telemetry.FlagOverload || !strings.Contains(f.Error(), "of 1000 MiB")) {
			t.Errorf("refused with %v", f)
		}
	}
	if n := b.refused.Load(); n != 4 {
		t.Errorf("%d are counted", n)
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			got[f.GetName()] = v.GetCounter().GetValue() + v.GetGauge().GetValue()
		}
	}
	if got[m.Name("connections_refused_memory_total")] != 4 || got[m.Name("memory_limit_bytes")] != 1000<<20 || got[m.Name("memory_used_bytes")] != 800<<20 {
		t.Errorf("metrics: %v", got)
	}
}

func TestWithoutLimitNothingIsRefused(t *testing.T) {
	b := New(Options{Use: func() int64 { return 1 << 50 }})
	b.look()
	var none *Budget
	if b.Refusal() != nil || none.Refusal() != nil {
		t.Error("refused")
	}
}

func TestInUse(t *testing.T) {
	alone := inUse(nil)
	with := inUse(func() int64 { return 1 << 40 })
	if alone <= 0 || with < 1<<40 {
		t.Errorf("%d alone, %d with sockets", alone, with)
	}
}
