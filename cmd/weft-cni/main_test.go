package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/weftmesh/weft/pkg/cni"
)

// The test binary is the plugin by the name of weft-cni, and by the name of network a plugin that makes a network of
// nothing: the runtime's library finds both in a folder of links.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case cni.PluginName:
		main()
	case "network":
		network()
	default:
		os.Exit(m.Run())
	}
}

func network() {
	if os.Getenv("CNI_COMMAND") != "ADD" {
		return
	}
	var conf types.PluginConf
	_ = json.NewDecoder(os.Stdin).Decode(&conf)
	at := func(cidr string, i int) *types100.IPConfig {
		ip, n, _ := net.ParseCIDR(cidr)
		return &types100.IPConfig{Address: net.IPNet{IP: ip, Mask: n.Mask}, Interface: types100.Int(i)}
	}
	_ = types.PrintResult(&types100.Result{
		CNIVersion: "1.1.0",
		Interfaces: []*types100.Interface{{Name: "veth1"}, {Name: os.Getenv("CNI_IFNAME"), Sandbox: os.Getenv("CNI_NETNS")}},
		IPs:        []*types100.IPConfig{at("10.1.2.3/24", 1), at("192.168.0.1/32", 0), at("fd00::3/64", 1)},
	}, conf.CNIVersion)
}

// agent answers as add says, and knows what it was told.
type agent struct {
	add func(context.Context, cni.Pod) error

	mu    sync.Mutex // protects calls
	calls []string
}

func (a *agent) told(op string, p cni.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprint(op, " ", p.Key(), " ", p.UID, " ", p.ContainerID, " ", p.Interface, " ", p.Addresses))
}

func (a *agent) Add(ctx context.Context, p cni.Pod) error {
	a.told("add", p)
	if a.add == nil {
		return nil
	}
	return a.add(ctx, p)
}
func (a *agent) Check(_ context.Context, p cni.Pod) error { a.told("check", p); return nil }
func (a *agent) Del(_ context.Context, p cni.Pod) error {
	a.told("del", p)
	return errors.New("this agent tolerates nobody's end")
}

// runtime is what a container runtime has.
type runtime struct {
	t      *testing.T
	socket string
	config *libcni.CNIConfig
	list   *libcni.NetworkConfigList
	conf   libcni.RuntimeConf
}

func newRuntime(t *testing.T, version string, timeout int) *runtime {
	t.Helper()
	t.Setenv("CNI_NETNS_OVERRIDE", "1") // a namespace of its own wants root
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Mkdir(bin, 0o755), os.Symlink(self, filepath.Join(bin, "network")), os.Symlink(self, filepath.Join(bin, cni.PluginName))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &runtime{t: t, socket: filepath.Join(dir, "cni.sock"), config: libcni.NewCNIConfigWithCacheDir([]string{bin}, filepath.Join(dir, "cache"), nil)}
	r.list = r.parse(fmt.Sprintf(`{"cniVersion":%q,"name":"net","plugins":[{"type":"network"},{"type":"weft-cni","socket":%q,"timeoutSeconds":%d}]}`, version, r.socket, timeout))
	r.conf = libcni.RuntimeConf{ContainerID: "c1", NetNS: "/proc/self/ns/net", IfName: "eth0"}
	r.pod("shop", "cart")
	return r
}

func (r *runtime) parse(list string) *libcni.NetworkConfigList {
	r.t.Helper()
	l, err := libcni.NetworkConfFromBytes([]byte(list))
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *runtime) pod(namespace, name string) {
	r.conf.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", name}, {"K8S_POD_UID", "u1"}}
}

func (r *runtime) add() (types.Result, error) {
	return r.config.AddNetworkList(context.Background(), r.list, &r.conf)
}

// start runs an agent until the returned function is called.
func (r *runtime) start(a *agent) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&cni.Server{Path: r.socket, Handler: a}).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func TestVersions(t *testing.T) {
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			r := newRuntime(t, version, 20)
			a := &agent{}
			r.start(a)
			res, err := r.add()
			if err != nil {
				t.Fatal(err)
			}
			got, err := types100.NewResultFromResult(res)
			if err != nil || len(got.IPs) != 3 || len(got.Interfaces) != 2 || got.Interfaces[1].Sandbox != r.conf.NetNS {
				t.Errorf("result %+v %v", got, err)
			}
			want := []string{"add shop/cart u1 c1 eth0 [10.1.2.3 fd00::3]"}
			if version >= "0.4.0" {
				if err := r.config.CheckNetworkList(context.Background(), r.list, &r.conf); err != nil {
					t.Error(err)
				}
				want = append(want, "check shop/cart u1 c1 eth0 [10.1.2.3 fd00::3]")
			}
			if err := r.config.DelNetworkList(context.Background(), r.list, &r.conf); err != nil {
				t.Error(err)
			}
			if want = append(want, "del shop/cart u1 c1 eth0 []"); !slices.Equal(a.calls, want) {
				t.Errorf("agent was told %q, want %q", a.calls, want)
			}
			for _, err := range []error{r.config.GCNetworkList(context.Background(), r.list, &libcni.GCArgs{}), r.config.GetStatusNetworkList(context.Background(), r.list)} {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAgentSaysNo(t *testing.T) {
	r := newRuntime(t, "1.1.0", 20)
	r.start(&agent{add: func(context.Context, cni.Pod) error { return errors.New("no ztunnel is connected") }})
	if err := cni.WriteState(cni.StatePath(r.socket), map[string]cni.Mode{"shop": cni.Plain}); err != nil {
		t.Fatal(err)
	}
	r.refused("no ztunnel is connected", "weftctl check")
	if b, err := os.ReadFile(cni.LogPath(r.socket)); err != nil || !strings.Contains(string(b), "no ztunnel is connected") {
		t.Errorf("log: %s %v", b, err)
	}
}

func (r *runtime) refused(wants ...string) {
	r.t.Helper()
	_, err := r.add()
	if err == nil {
		r.t.Fatal("let pass")
	}
	for _, want := range append(wants, "shop/cart", "tried again") {
		if !strings.Contains(err.Error(), want) {
			r.t.Errorf("%q lacks %q", err, want)
		}
	}
}

func TestAgentIsAway(t *testing.T) {
	r := newRuntime(t, "1.1.0", 1)
	r.refused("not known", "kubectl", "weft-agent cleanup") // nothing is left of an agent
	state := map[string]cni.Mode{"plain": cni.Plain, "shop": cni.Enrolled, "mixed": cni.Mixed}
	if err := cni.WriteState(cni.StatePath(r.socket), state); err != nil {
		t.Fatal(err)
	}
	r.refused("namespace shop is enrolled", "no such file")
	for namespace, pass := range map[string]bool{"plain": true, "mixed": false, "new": false, "kube-system": true, "weft-system": true} {
		r.pod(namespace, "p")
		if _, err := r.add(); (err == nil) != pass {
			t.Errorf("namespace %s: %v", namespace, err)
		}
	}
	r.conf.Args = nil // none of Kubernetes
	if _, err := r.add(); err != nil {
		t.Error(err)
	}
	for _, err := range []error{r.config.DelNetworkList(context.Background(), r.list, &r.conf), r.config.GetStatusNetworkList(context.Background(), r.list)} {
		if err != nil {
			t.Error(err)
		}
	}
}

// A silent agent is like none: pods that are not the mesh's do not wait for it for ever.
func TestAgentIsSilent(t *testing.T) {
	r := newRuntime(t, "1.1.0", 1)
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r.refused("not answered", "not known")
	if err := cni.WriteState(cni.StatePath(r.socket), map[string]cni.Mode{"shop": cni.Plain}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.add(); err != nil {
		t.Error(err)
	}
}

// The agent dies in the middle, and its successor answers.
func TestAgentIsReplaced(t *testing.T) {
	r := newRuntime(t, "1.1.0", 60)
	entered := make(chan struct{})
	first := &agent{add: func(ctx context.Context, _ cni.Pod) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}}
	stop := r.start(first)
	done := make(chan error, 1)
	go func() {
		_, err := r.add()
		done <- err
	}()
	<-entered
	stop()
	second := &agent{}
	r.start(second)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(second.calls) != 1 {
		t.Errorf("the second agent was told %q", second.calls)
	}
}

// Pods that may start without an agent give one that is restarting its time.
func TestAgentRestarts(t *testing.T) {
	r := newRuntime(t, "1.1.0", 60)
	if err := cni.WriteState(cni.StatePath(r.socket), map[string]cni.Mode{"shop": cni.Plain}); err != nil {
		t.Fatal(err)
	}
	a := &agent{}
	done := make(chan error, 1)
	go func() {
		_, err := r.add()
		done <- err
	}()
	r.start(a)
	if err := <-done; err != nil || len(a.calls) != 1 {
		t.Errorf("%v, agent was told %q", err, a.calls)
	}
}

func TestFirstInTheList(t *testing.T) {
	r := newRuntime(t, "1.1.0", 20)
	r.list = r.parse(`{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"weft-cni"}]}`)
	if _, err := r.add(); err == nil || !strings.Contains(err.Error(), "chained behind") {
		t.Error(err)
	}
}
