package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roleMany: ADDRESS. It connects again and again, and prints for each connection the first line that it
// read, or "failed".
func roleMany(args []string) error {
	fmt.Println("ready")
	b := make([]byte, 64)
	for {
		c, err := net.DialTimeout("tcp", args[0], 3*time.Second)
		line := "failed"
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(3 * time.Second))
			if n, err := c.Read(b); err == nil {
				line, _, _ = strings.Cut(string(b[:n]), "\n")
			}
			c.Close()
		}
		fmt.Println(line)
		if line == "failed" {
			time.Sleep(time.Millisecond) // refused at once: leave some of the machine to others
		}
	}
}

// traffic is what a pod's connections met, by the first word of what they read.
type traffic struct {
	mu    sync.Mutex
	count map[string]int
}

// of counts connections that read line.
func (f *traffic) of(line string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[line]
}

// watch reads what a roleMany prints until it ends.
func watch(p *program) *traffic {
	f := &traffic{count: map[string]int{}}
	go func() {
		for {
			line, err := p.out.ReadString('\n')
			if err != nil {
				return
			}
			f.mu.Lock()
			f.count[strings.TrimSpace(line)]++
			f.mu.Unlock()
		}
	}()
	return f
}

// Agent and ztunnel are killed and come back in every order while an enrolled pod connects all the time:
// never does a connection pass by the ztunnel, and each time the pod is served again.
func TestRestartsUnderTraffic(t *testing.T) {
	n := newNode(t)
	n.addPod("a", "10.78.0.11")
	n.addPod("remote", "10.78.9.2")
	n.write("")
	n.start("echo", n.pod("remote"), "remote", "10.78.9.2:80")
	agent, z := n.agent(), n.ztunnel("z0")
	eventually(t, "announced", func() bool { return n.announced("a") })
	f := watch(n.start("many", n.pod("a"), "pod-a", "10.78.9.2:80"))
	const bypass = "hello 10.78.0.11"
	served := func(by string) {
		t.Helper()
		before := f.of("out by " + by)
		eventually(t, "served by "+by, func() bool { return f.of("out by "+by) > before+5 })
	}
	served("z0")
	for i, step := range []struct {
		name string
		do   func(next string)
	}{
		{"agent", func(string) { _ = agent.end(syscall.SIGKILL); agent = n.agent() }},
		{"ztunnel", func(next string) { _ = z.end(syscall.SIGKILL); z = n.ztunnel(next) }},
		{"both, the agent comes first", func(next string) {
			_ = z.end(syscall.SIGKILL)
			_ = agent.end(syscall.SIGKILL)
			agent = n.agent()
			z = n.ztunnel(next)
		}},
		{"both, the ztunnel comes first", func(next string) {
			_ = agent.end(syscall.SIGKILL)
			_ = z.end(syscall.SIGKILL)
			z = n.ztunnel(next)
			agent = n.agent()
		}},
		{"agent in good order", func(string) { _ = agent.end(syscall.SIGTERM); agent = n.agent() }},
	} {
		next := fmt.Sprintf("z%d", i+1)
		step.do(next)
		served(z.cmd.Args[1])
		eventually(t, step.name+": the agent has it in hand", func() bool { return n.view("a").Ztunnel > 0 })
		if k := f.of(bypass); k > 0 {
			t.Fatalf("%s: %d connections passed by the ztunnel", step.name, k)
		}
		t.Logf("%s: %d connections failed so far", step.name, f.of("failed"))
	}
	failed := f.of("failed")
	former := z
	n.ztunnel("last") // takes over from the other: nothing fails
	served("last")
	_ = former.end(syscall.SIGTERM)
	served("last")
	if k := f.of("failed"); k > failed {
		t.Errorf("%d connections failed while a ztunnel took over", k-failed)
	}
	if k := f.of(bypass); k > 0 {
		t.Errorf("%d connections passed by the ztunnel", k)
	}
}
