package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/enroll"
)

// The life of a node, with the real kernel and a ztunnel that is a stand-in but speaks the real protocol.
func TestNode(t *testing.T) {
	n := newNode(t)
	n.addPod("a", "10.78.0.11")
	n.addPod("b", "10.78.0.12")
	n.addPod("remote", "10.78.9.2")
	n.pods["b"].labels = "weft.dev/dataplane-mode: none"
	n.write("")
	n.start("echo", n.pod("remote"), "remote", "10.78.9.2:80")
	n.start("echo", n.pod("a"), "pod-a", "10.78.0.11:80")
	const remote = "10.78.9.2:80"
	out := func() outcome { return n.dial(n.pod("a"), "pod-a", remote) }
	direct, by := []string{"hello 10.78.0.11"}, func(z string) []string { return []string{"out by " + z, "hello 10.78.0.11"} }
	expect := func(what string, got outcome, want []string) {
		t.Helper()
		if !slices.Equal(got.Lines, want) {
			t.Fatalf("%s: got %+v, want %q", what, got, want)
		}
	}
	refused := func(what string) {
		t.Helper()
		if o := out(); !o.Refused || o.Elapsed > time.Second {
			t.Fatalf("%s: %+v, want refused at once", what, o)
		}
	}

	agent := n.agent()
	eventually(t, "agent waits", func() bool { return strings.Contains(n.view("a").Error, "waiting for a ztunnel") })
	expect("before a ztunnel is there", out(), direct)
	if n.announced("a") {
		t.Fatal("announced without a ztunnel")
	}

	z1 := n.ztunnel("z1")
	eventually(t, "announced", func() bool { return n.announced("a") })
	expect("enrolled", out(), by("z1"))
	expect("inbound, plain text", n.dial(n.pod("remote"), "remote", "10.78.0.11:80"), []string{"in by z1", "hello 10.78.9.2"})
	// The kubelet starts later than the agent; its cgroup has to be noticed.
	eventually(t, "the kubelet's probe", func() bool {
		return slices.Equal(n.dial(n.ns, "kubelet", "10.78.0.11:80").Lines, []string{"hello 169.254.1.1"})
	})
	expect("the node, not the kubelet", n.dial(n.ns, "somebody", "10.78.0.11:80"), []string{"in by z1", "hello 169.254.1.1"})
	expect("labelled none", n.dial(n.pod("b"), "pod-b", remote), []string{"hello 10.78.0.12"})
	if v := n.view("b"); v.State != enroll.StateIgnored || n.rules("b") != 0 {
		t.Fatalf("%+v", v)
	}

	_ = agent.end(syscall.SIGKILL)
	expect("the agent is killed", out(), by("z1"))
	_ = z1.end(syscall.SIGKILL)
	refused("both are killed")
	z2 := n.ztunnel("z2")
	refused("a ztunnel without an agent")
	agent = n.agent()
	eventually(t, "served by z2", func() bool { return slices.Equal(out().Lines, by("z2")) })
	// Until the capture of its predecessor is brought up to date, the agent holds the listeners open too.
	eventually(t, "adopted", func() bool { return n.view("a").Ztunnel > 0 })

	_ = z2.end(syscall.SIGKILL)
	began := time.Now()
	refused("the ztunnel is killed")
	z3 := n.ztunnel("z3")
	eventually(t, "served by z3", func() bool { return slices.Equal(out().Lines, by("z3")) })
	t.Logf("requests succeed again %v after the kill of a ztunnel, a check and the start of another included", time.Since(began))
	if !n.announced("a") {
		t.Error("the announcement was withdrawn")
	}

	// A successor takes over while the former runs.
	z4 := n.ztunnel("z4")
	eventually(t, "served by z4", func() bool { return slices.Equal(out().Lines, by("z4")) })
	_ = z3.end(syscall.SIGKILL)
	expect("the former has ended", out(), by("z4"))

	n.write("none")
	eventually(t, "left", func() bool { return n.view("a").State == enroll.StateIgnored })
	expect("left", out(), direct)
	if n.announced("a") || n.rules("a") != 0 {
		t.Errorf("left behind: announced %v, %d rules", n.announced("a"), n.rules("a"))
	}
	n.write("ambient")
	eventually(t, "back", func() bool { return n.announced("a") })
	expect("back", out(), by("z4"))

	// Round and round, without leaving anything open.
	fds := func() int {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", agent.cmd.Process.Pid))
		must(t, err)
		return len(files)
	}
	before := fds()
	for range 6 {
		n.write("none")
		eventually(t, "left again", func() bool { return n.view("a").State == enroll.StateIgnored })
		n.write("ambient")
		eventually(t, "back again", func() bool { return n.announced("a") })
	}
	eventually(t, fmt.Sprintf("no more than %d open files", before), func() bool { return fds() <= before })

	// The pod is made anew: the same name and address, another namespace.
	n.dropPod("a")
	eventually(t, "gone", func() bool { return n.view("a").Name == "" && !n.announced("a") })
	n.addPod("a", "10.78.0.11")
	n.write("")
	eventually(t, "anew", func() bool { return n.announced("a") })
	expect("anew", out(), by("z4"))

	// Its namespace is replaced within one write, too.
	former := n.pods["a"].uid
	n.dropPod("a")
	n.addPod("a", "10.78.0.11")
	n.write("")
	eventually(t, "replaced", func() bool { v := n.view("a"); return v.UID != former && v.State == enroll.StateEnrolled })
	expect("replaced", out(), by("z4"))
	checkPages(t, n)

	if err := agent.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	expect("the agent has ended", out(), by("z4"))
	_ = z4.end(syscall.SIGKILL)
	refused("nobody is left")
	clean := n.start("agent", n.ns, "agent", "cleanup", "--node", "n1", "--bpf-root", filepath.Join(n.dir, "bpf", "weft"))
	if b, _ := io.ReadAll(clean.out); clean.cmd.Wait() != nil {
		t.Fatalf("cleanup: %s %s", b, clean.stderr.String())
	}
	expect("cleaned up", out(), direct)
	if files, err := os.ReadDir(filepath.Join(n.dir, "bpf", "weft")); err != nil || len(files) > 0 || n.rules("a") != 0 {
		t.Errorf("left behind: %v %v, %d rules", files, err, n.rules("a"))
	}
}

func checkPages(t *testing.T, n *node) {
	t.Helper()
	for path, wants := range map[string][]string{
		"/":         {"/pods", "/counters"},
		"/pods":     {`"name": "a"`, `"state": "enrolled"`, `"state": "ignored"`},
		"/counters": {`"redirected_outbound"`, `"total"`, n.pods["a"].uid},
		"/debug":    {`"ztunnels"`, `"pid"`, `"node": "n1"`, `"kernel"`},
		"/ready":    {"ready"},
		"/metrics":  {`weft_agent_pods{state="enrolled"} 1`, `weft_agent_ztunnels_connected 1`, "weft_redirection_events_total", "weft_agent_enrolment_seconds_count"},
	} {
		body, err := n.get(path)
		for _, want := range wants {
			if !strings.Contains(strings.ToLower(body), strings.ToLower(want)) {
				t.Errorf("%s lacks %q: %v\n%s", path, want, err, body)
			}
		}
	}
	if fi, err := os.Stat(n.admin()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error("admin socket", fi, err)
	}
}

// Many pods at once, with a ztunnel that is killed again and again: in the end all are served.
func TestNodeUnderChange(t *testing.T) {
	n := newNode(t)
	n.addPod("remote", "10.78.9.2")
	n.start("echo", n.pod("remote"), "remote", "10.78.9.2:80")
	const pods = 12
	for i := range pods {
		n.addPod(fmt.Sprintf("p%d", i), fmt.Sprintf("10.78.1.%d", i+1))
	}
	n.write("")
	agent := n.agent()
	for round := range 4 {
		z := n.ztunnel(fmt.Sprintf("z%d", round))
		if round%2 == 1 {
			_ = agent.end(syscall.SIGKILL)
			agent = n.agent()
		}
		if round < 3 {
			eventually(t, "some", func() bool { return n.announced("p0") })
			_ = z.end(syscall.SIGKILL)
		}
	}
	for i := range pods {
		name := fmt.Sprintf("p%d", i)
		eventually(t, name, func() bool {
			v := n.view(name)
			return n.announced(name) && v.State == enroll.StateEnrolled && v.Ztunnel > 0
		})
		eventually(t, name+" served", func() bool {
			o := n.dial(n.pod(name), "pod", "10.78.9.2:80")
			return len(o.Lines) == 2 && o.Lines[0] == "out by z3"
		})
	}
	if err := agent.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
