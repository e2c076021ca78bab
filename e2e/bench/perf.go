package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// What perf says, where it is installed; without it these figures are missing, and nothing else is.

// inKernel samples processes and sorts what was seen in the kernel, as shares of all their CPU time. Nil: no perf.
// Without hardware counters samples come by a timer, which a kernel that has interrupts off delays: what follows
// looks dearer than it is.
func inKernel(ctx context.Context, pids []int, file string) map[string]float64 {
	cmd := exec.CommandContext(ctx, "perf", "record", "-q", "-F", "499", "-e", "cpu-clock", "-o", file, "-p", joined(pids), "--", "sleep", strconv.Itoa(profileSeconds))
	if err := cmd.Run(); err != nil {
		say("perf record: %v: no shares of the kernel", err)
		return nil
	}
	out, err := exec.CommandContext(ctx, "perf", "report", "-i", file, "--stdio", "--no-children", "--sort", "sym", "-g", "none").Output()
	if err != nil {
		say("perf report: %v: no shares of the kernel", err)
		return nil
	}
	return kernelShares(string(out))
}

// kernelKinds sort the kernel's functions; the first that fits counts.
var kernelKinds = []struct {
	kind string
	like *regexp.Regexp
}{
	{"copying bytes", regexp.MustCompile(`rep_movs|copy_user|copy_to_|copy_from_|_iter$|memcpy|skb_copy|copyout|copyin`)},
	{"bridge, veth, nft, eBPF", regexp.MustCompile(`veth|^br_|bridge|^nf_|^nft_|bpf|netif|net_rx|napi|backlog|__dev_|^dev_|dst_|fib_`)},
	{"TCP and IP", regexp.MustCompile(`tcp|^ip_|^__ip|inet|^sk_|^__sk|sock|skb|^ip6|csum|neigh`)},
	{"epoll", regexp.MustCompile(`^ep_|epoll|eventpoll|poll`)},
	{"waking, switching", regexp.MustCompile(`schedule|finish_task|wake|futex|enqueue|dequeue|pick_|unlock_irq|hrtimer|switch|ttwu|softirq|update_curr|avg`)},
	{"memory", regexp.MustCompile(`alloc|free|kmem|slab|page|rmqueue|zone|memset|rep_stos|fault|vma|mas_`)},
	{"entry and exit", regexp.MustCompile(`entry_|do_syscall|syscall|exit_to_user|ret_from`)},
	{"other", regexp.MustCompile(``)},
}

var reportLine = regexp.MustCompile(`^\s*([0-9.]+)%\s+\[k\]\s+(\S+)`)

func kernelShares(text string) map[string]float64 {
	shares := map[string]float64{}
	for line := range strings.Lines(text) {
		m := reportLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		x, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			continue
		}
		for _, k := range kernelKinds {
			if k.like.MatchString(m[2]) {
				shares[k.kind] += x / 100
				break
			}
		}
	}
	return shares
}

// calls that are counted.
var counted = []string{
	"read", "readv", "write", "writev", "epoll_wait", "epoll_pwait", "epoll_ctl", "futex", "accept4", "connect", "socket", "close", "shutdown",
	"setsockopt", "getsockopt", "getsockname", "getpeername", "sendto", "recvfrom", "fcntl", "nanosleep",
}

// countCalls counts system calls of processes. Nil: no perf, or it may not.
func countCalls(ctx context.Context, pids []int) map[string]float64 {
	events := make([]string, len(counted))
	for i, name := range counted {
		events[i] = "syscalls:sys_enter_" + name
	}
	cmd := exec.CommandContext(ctx, "perf", "stat", "-x", ",", "-e", strings.Join(events, ","), "-p", joined(pids), "--", "sleep", strconv.Itoa(profileSeconds))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		say("perf stat: %v: no counts of system calls", err)
		return nil
	}
	return callCounts(errs.String())
}

func callCounts(text string) map[string]float64 {
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Split(line, ",")
		if len(f) < 3 {
			continue
		}
		name, ok := strings.CutPrefix(f[2], "syscalls:sys_enter_")
		if n, err := strconv.ParseFloat(f[0], 64); ok && err == nil && n > 0 {
			calls[name] = n
		}
	}
	return calls
}

func joined(pids []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ","), "[]")
}
