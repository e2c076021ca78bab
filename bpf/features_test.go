package bpf

import (
	"errors"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	privileged(t)
	fs := Probe()
	for _, f := range fs {
		if f.Have != (f.Err == nil) {
			t.Errorf("%s: have=%v, error %v", f.Name, f.Have, f.Err)
		}
		t.Logf("%-28s %v", f.Name, f.Have)
	}
	if err := Lacking(fs); err != nil {
		t.Errorf("this kernel runs the other tests, yet: %v", err)
	}
}

func TestLackingNamesKernelAndReason(t *testing.T) {
	err := Lacking([]Feature{
		{Name: "tcx", Required: true, Need: "6.6", Why: "guard pods", Err: errors.New("not supported")},
		{Name: "bpf_set_retval", Need: "5.18", Err: errors.New("not supported")},
	})
	if err == nil {
		t.Fatal("nothing lacking")
	}
	for _, want := range []string{"tcx (Linux 6.6; to guard pods: not supported)", "this kernel ("} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "retval") {
		t.Errorf("%q names what is optional", err)
	}
}

func TestCounterNames(t *testing.T) {
	seen := map[string]Counter{}
	for c := range Counter(NumCounters) {
		if other, dup := seen[c.String()]; dup || c.Action() == "" || c.Reason() == "" {
			t.Errorf("counter %d is %q, as is %d", c, c, other)
		}
		seen[c.String()] = c
	}
	if uint32(NumCounters) > counterRoom {
		t.Errorf("%d counters, room for %d", NumCounters, counterRoom)
	}
}

func TestJoinPorts(t *testing.T) {
	for _, c := range [][2]string{
		{"", "15001,15006,15008,15053"},
		{"15001,15006,15008,15053", "15001,15006,15008,15053"},
		{"7000,15006", "7000,15006,15001,15008,15053"},
		{"8000-8010", "8000-8010,15001,15006,15008,15053"},
	} {
		if got := joinPorts(c[0], reservedPorts); got != c[1] {
			t.Errorf("joinPorts(%q) = %q, want %q", c[0], got, c[1])
		}
	}
}

func TestCgroupOf(t *testing.T) {
	root, err := CgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	path, id, err := CgroupOf("", 1)
	if err != nil {
		t.Fatal(err)
	}
	want, err := CgroupID(path)
	if err != nil || id != want || !strings.HasPrefix(path, root) {
		t.Errorf("process 1: %s %d, want %d (%v)", path, id, want, err)
	}
	if _, err := CgroupID("/proc"); err == nil {
		t.Error("/proc passed as a cgroup")
	}
}
