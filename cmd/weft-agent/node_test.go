package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/netns"
)

// node is a simulated node: a namespace that forwards, pods in namespaces with names, a folder of YAML.
type node struct {
	t      *testing.T
	prefix string // of namespaces and cgroups
	dir    string // source/, status/, sockets
	cgroup string
	ns     *netns.NS
	pods   map[string]*nodePod
}

type nodePod struct {
	name, ip string
	uid      string
	labels   string // YAML of its labels
	ns       *netns.NS
}

func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI must provide it")
	}
	t.Skip("needs root: eBPF, network namespaces, cgroups")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newNode(t *testing.T) *node {
	t.Helper()
	privileged(t)
	root, err := bpf.CgroupRoot()
	must(t, err)
	n := &node{t: t, prefix: fmt.Sprintf("wft-agent-%d", os.Getpid()), dir: t.TempDir(), pods: map[string]*nodePod{}}
	n.cgroup = filepath.Join(root, n.prefix)
	t.Cleanup(n.dropCgroups)
	mount := filepath.Join(n.dir, "bpf")
	must(t, bpf.MountBPFFS(mount))
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	must(t, os.MkdirAll(filepath.Join(n.dir, "source"), 0o755))
	n.ns = n.namespace("node")
	must(t, n.ns.Do(func() error {
		for _, k := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+k, []byte("1"), 0o644); err != nil {
				return err
			}
		}
		return up("lo")
	}))
	return n
}

// namespace makes one with a name, as a container runtime does.
func (n *node) namespace(name string) *netns.NS {
	n.t.Helper()
	full := n.prefix + "-" + name
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h, err := vns.NewNamed(full)
		if err == nil {
			h.Close()
		}
		done <- err
	}()
	must(n.t, <-done)
	n.t.Cleanup(func() {
		if err := vns.DeleteNamed(full); err != nil && !errors.Is(err, os.ErrNotExist) {
			n.t.Error(err)
		}
	})
	ns, err := netns.Open("/run/netns/" + full)
	must(n.t, err)
	n.t.Cleanup(func() { ns.Close() })
	return ns
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// addPod raises a pod's namespace and its veth.
func (n *node) addPod(name, ip string) *nodePod {
	n.t.Helper()
	p := &nodePod{name: name, ip: ip, uid: fmt.Sprintf("uid-%s-%d", name, time.Now().UnixNano()), ns: n.namespace("shop-" + name)}
	n.pods[name] = p
	host := "v-" + name
	must(n.t, p.ns.WithFd(func(fd int) error {
		return n.ns.Do(func() error {
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}); err != nil {
				return err
			}
			l, err := netlink.LinkByName(host)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr("169.254.1.1/32")
			if err != nil {
				return err
			}
			dst, err := netlink.ParseIPNet(ip + "/32")
			if err != nil {
				return err
			}
			return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l), netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}))
		})
	}))
	must(n.t, p.ns.Do(func() error {
		a, err := netlink.ParseAddr(ip + "/32")
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		gw, err := netlink.ParseIPNet("169.254.1.1/32")
		if err != nil {
			return err
		}
		return errors.Join(up("lo"), netlink.AddrAdd(l, a), netlink.LinkSetUp(l),
			netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: gw, Scope: netlink.SCOPE_LINK}),
			netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IPv4(169, 254, 1, 1)}))
	}))
	return p
}

// dropPod takes a pod down as a container runtime does.
func (n *node) dropPod(name string) {
	n.t.Helper()
	p := n.pods[name]
	delete(n.pods, name)
	must(n.t, n.ns.Do(func() error {
		l, err := netlink.LinkByName("v-" + name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	must(n.t, p.ns.Close())
	must(n.t, vns.DeleteNamed(n.prefix+"-shop-"+name))
	n.write("")
}

// write writes all objects: the namespace with a mode, and the pods but for the remote one.
func (n *node) write(mode string) {
	n.t.Helper()
	if mode == "" {
		mode = "ambient"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {weft.dev/dataplane-mode: %s}\n", mode)
	for _, p := range n.pods {
		if p.name == "remote" {
			continue
		}
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop, uid: %s, labels: {%s}}\n", p.name, p.uid, p.labels)
		fmt.Fprintf(&b, "spec: {nodeName: n1, serviceAccountName: cart, containers: [{name: app, image: app, readinessProbe: {tcpSocket: {port: 80}}}]}\n")
		fmt.Fprintf(&b, "status: {phase: Running, podIP: %s, podIPs: [{ip: %s}]}\n", p.ip, p.ip)
	}
	tmp := filepath.Join(n.dir, "source", ".tmp")
	must(n.t, os.WriteFile(tmp, []byte(b.String()), 0o644))
	must(n.t, os.Rename(tmp, filepath.Join(n.dir, "source", "all.yaml")))
}

// program is a role that runs.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Reader
	stderr bytes.Buffer
	end    func(os.Signal) error
}

func (n *node) start(role string, ns *netns.NS, cgroup string, args ...string) *program {
	n.t.Helper()
	path := filepath.Join(n.cgroup, cgroup)
	must(n.t, os.MkdirAll(path, 0o755))
	dir, err := os.Open(path)
	must(n.t, err)
	defer dir.Close()
	p := &program{t: n.t, cmd: exec.Command("/proc/self/exe", args...)}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	pipe, err := p.cmd.StdoutPipe()
	must(n.t, err)
	p.out = bufio.NewReader(pipe)
	alive, err := p.cmd.StdinPipe()
	must(n.t, err)
	must(n.t, ns.Do(p.cmd.Start)) // cloned by the thread that is inside
	var once sync.Once
	p.end = func(s os.Signal) (err error) {
		once.Do(func() {
			_ = p.cmd.Process.Signal(s)
			err = p.cmd.Wait()
			alive.Close()
		})
		return err
	}
	n.t.Cleanup(func() {
		_ = p.end(syscall.SIGKILL)
		if n.t.Failed() && role != "client" {
			n.t.Logf("%s %v:\n%s", role, args, p.stderr.String())
		}
	})
	if role == "ztunnel" || role == "echo" || role == "many" {
		if line, err := p.out.ReadString('\n'); line != "ready\n" {
			n.t.Fatalf("%s did not start: %q %v %s", role, line, err, p.stderr.String())
		}
	}
	return p
}

// dial connects from a namespace, in a cgroup of its own.
func (n *node) dial(from *netns.NS, cgroup, to string) (o outcome) {
	n.t.Helper()
	p := n.start("client", from, cgroup, to)
	b, err := io.ReadAll(p.out)
	must(n.t, err)
	if err := json.Unmarshal(b, &o); err != nil {
		n.t.Fatalf("client printed %q: %v %s", b, err, p.stderr.String())
	}
	_ = p.end(syscall.SIGKILL)
	return o
}

func (n *node) pod(name string) *netns.NS { return n.pods[name].ns }

// agentArgs are the flags of the node's agent.
func (n *node) agentArgs() []string {
	return []string{"--node", "n1", "--source", "dir:" + filepath.Join(n.dir, "source"), "--netns-pattern", "/run/netns/" + n.prefix + "-{namespace}-{name}",
		"--bpf-root", filepath.Join(n.dir, "bpf", "weft"), "--zds-socket", n.zds(), "--status-dir", filepath.Join(n.dir, "status"),
		"--kubelet-cgroup", filepath.Join(n.cgroup, "kubelet"), "--admin-socket", n.admin(), "--metrics-addr", "127.0.0.1:15010",
		"--linger", "200ms", "--log-level", "debug"}
}

func (n *node) zds() string   { return filepath.Join(n.dir, "zds.sock") }
func (n *node) admin() string { return filepath.Join(n.dir, "agent.sock") }

func (n *node) agent() *program { return n.start("agent", n.ns, "agent", n.agentArgs()...) }

func (n *node) ztunnel(name string) *program {
	return n.start("ztunnel", n.ns, "ztunnel-"+name, name, n.zds())
}

// get asks the agent's admin socket.
func (n *node) get(path string) (string, error) {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.admin())
		}}}
	resp, err := c.Get("http://agent" + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// view is what /pods says of a pod, zero if nothing.
func (n *node) view(name string) (found enroll.View) {
	body, err := n.get("/pods")
	var all []enroll.View
	if err != nil || json.Unmarshal([]byte(body), &all) != nil {
		return enroll.View{}
	}
	for _, v := range all {
		if v.Name == name {
			found = v
		}
	}
	return found
}

func (n *node) announced(name string) bool {
	_, err := os.Stat(filepath.Join(n.dir, "status", "pods", "shop_"+name+".json"))
	return err == nil
}

// rules counts the policy routing rules of a pod that are not the kernel's own.
func (n *node) rules(name string) (count int) {
	n.t.Helper()
	must(n.t, n.pod(name).Do(func() error {
		rules, err := netlink.RuleList(netlink.FAMILY_ALL)
		for _, r := range rules {
			if r.Priority != 0 && r.Priority < 32766 {
				count++
			}
		}
		return err
	}))
	return count
}

func (n *node) dropCgroups() {
	for end := time.Now().Add(5 * time.Second); ; {
		var left error
		_ = filepath.WalkDir(n.cgroup, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && p != n.cgroup {
				left = errors.Join(left, os.Remove(p))
			}
			return nil
		})
		if err := os.Remove(n.cgroup); left == nil && (err == nil || errors.Is(err, os.ErrNotExist)) {
			return
		}
		if time.Now().After(end) {
			n.t.Errorf("cgroups are left: %v", left)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("never came about: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
