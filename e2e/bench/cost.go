package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cost is what was used until now, in CPU-seconds.
type cost struct {
	proxies float64 // of the path's cgroups
	machine float64 // busy time of all cores
}

// spent reads the counters.
func (p *path) spent() (cost, error) {
	var c cost
	for _, dir := range p.cgroups {
		us, err := usage(dir)
		if err != nil {
			return c, err
		}
		c.proxies += us
	}
	var err error
	c.machine, err = busy()
	return c, err
}

func (c cost) since(before cost) cost {
	return cost{proxies: c.proxies - before.proxies, machine: c.machine - before.machine}
}

// usage is the CPU time of a cgroup and all below, in seconds.
func usage(cgroup string) (float64, error) {
	data, err := os.ReadFile(filepath.Join(cgroup, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("CPU of a proxy: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return us / 1e6, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat holds no usage_usec", cgroup)
}

// busy is the time that all cores together were not idle, in seconds (proc_stat(5): ticks of 10 ms).
func busy() (float64, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), "\n")
	f := strings.Fields(first)
	if len(f) < 8 {
		return 0, fmt.Errorf("/proc/stat begins with %q", first)
	}
	sum := 0.0
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum / 100, nil
}

// resident is the memory of all processes of the path's proxies, in bytes (shared pages in parts).
func (p *path) resident() (int64, error) {
	var sum int64
	for _, dir := range p.cgroups {
		for _, pid := range pids(dir) {
			n, err := residentOf(pid)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

func residentOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no Pss of process %d", pid)
}
