package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
)

// A broken edit keeps the last good version, at the proxies too, and is told with file, line and field.
func TestBrokenEditKeepsLastGood(t *testing.T) {
	b := newBench(t)
	b.write("src/services.yaml", service("cart", 80, "")+service("bank", 81, ""))
	address, _ := b.start()
	z := b.ztunnel(address)
	port := func(name string, want uint16) func() bool {
		return func() bool { s := z.service(name); return s != nil && s.Ports[0].ServicePort == want }
	}
	eventually(t, "both services arrive", func() bool { return port("cart", 80)() && port("bank", 81)() })

	b.write("src/services.yaml", strings.Replace(service("cart", 90, ""), "ports:", "prots:", 1)+service("bank", 91, ""))
	eventually(t, "the edit of the good one arrives", port("bank", 91))
	if !port("cart", 80)() {
		t.Errorf("the broken one is %+v at the ztunnel, want its last good version", z.service("cart"))
	}
	var e entry
	eventually(t, "the problem is shown", func() bool { e = b.status("Service", "shop", "cart"); return len(e.Problems) > 0 })
	p := e.Problems[0]
	if !strings.HasSuffix(p.File, "/src/services.yaml") || p.Line != 4 || p.Path != "spec.prots" || !p.LastGood || p.Severity != "error" {
		t.Errorf("problem is %+v", p)
	}
	eventually(t, "the problem is in the status file", func() bool {
		text := b.read("state/status/service/shop_cart.yaml")
		return strings.Contains(text, "path: spec.prots") && strings.Contains(text, "line: 4") && strings.Contains(text, "lastGood: true")
	})

	b.write("src/services.yaml", "{{{ not YAML\n")
	eventually(t, "a file that is not YAML is shown", func() bool {
		for _, q := range b.status("", "", "").Problems {
			if q.Line == 1 && strings.Contains(q.Message, "not YAML") {
				return true
			}
		}
		return false
	})
	if !port("bank", 91)() || !port("cart", 80)() {
		t.Error("what the unreadable file held is not in force any more")
	}

	b.write("src/services.yaml", service("cart", 92, "")+service("bank", 92, ""))
	eventually(t, "the mended file is in force", func() bool { return port("cart", 92)() && port("bank", 92)() })
	eventually(t, "nothing is reported any more", func() bool {
		return b.read("state/status/service/shop_cart.yaml") == "" && len(b.status("Service", "shop", "cart").Problems) == 0
	})
}

// An object that was never good is left out, and the others go on.
func TestBadObjectIsLeftOut(t *testing.T) {
	b := newBench(t)
	b.write("src/a.yaml", fmt.Sprintf(policyYAML, "good", `principals: ["cluster.local/ns/shop/sa/cart"]`)+
		fmt.Sprintf(policyYAML, "typo", `principal: ["x"]`)+strings.Replace(service("lost", 80, ""), "ports:", "prots:", 1)+"apiVersion: v1\nkind: Servcie\nmetadata: {name: odd, namespace: shop}\n---\n")
	b.write("src/b.yaml", service("cart", 80, "")+service("cart", 99, "")) // two of one name: the first is in force
	address, _ := b.start()
	z := b.ztunnel(address)
	eventually(t, "the good ones arrive", func() bool { return strings.Contains(z.policyNames(), "shop/good") && z.service("cart") != nil })
	if port := z.service("cart").Ports[0].ServicePort; port != 80 {
		t.Errorf("of two services of one name the second is in force: port %d", port)
	}
	eventually(t, "the policy that cannot be read is shown", func() bool {
		e := b.status("AuthorizationPolicy", "shop", "typo")
		return len(e.Problems) > 0 && len(e.Conditions) > 0 && e.Conditions[0].Status == "False"
	})
	if z.service("lost") != nil || strings.Contains(b.page("/debug/objects"), `"name": "lost"`) {
		t.Error("the service that cannot be read is in force")
	}
	eventually(t, "the second of one name is shown", func() bool {
		e := b.status("Service", "shop", "cart")
		return len(e.Problems) > 0 && strings.Contains(e.Problems[0].Message, "another object of this kind and name")
	})
	eventually(t, "the unknown kind is shown", func() bool {
		e := b.status("Servcie", "shop", "odd")
		return len(e.Problems) > 0 && strings.Contains(e.Problems[0].Message, "unknown kind")
	})
	eventually(t, "status files of all", func() bool {
		return strings.Contains(b.read("state/status/service/shop_lost.yaml"), "reason: Invalid") &&
			strings.Contains(b.read("state/status/authorizationpolicy/shop_typo.yaml"), "path: spec.rules[0].from[0].source.principal") &&
			strings.Contains(b.read("state/status/authorizationpolicy/shop_good.yaml"), "type: Enforced")
	})
	if _, err := os.Stat(filepath.Join(b.dir, "state/status/servcie")); err == nil {
		t.Error("an unknown kind got a folder")
	}
	for _, want := range []string{`weft_controller_problems{severity="error"} 4`, `weft_controller_connected_proxies{type="ztunnel"} 1`,
		`weft_controller_snapshot_build_seconds_count`, `weft_xds_response_bytes_total{type="Address"}`} {
		eventually(t, "metrics have "+want, func() bool { return strings.Contains(b.page("/metrics"), want) })
	}
	if objects := b.page("/debug/objects"); !strings.Contains(objects, `"name": "good"`) || strings.Contains(objects, `"name": "typo"`) {
		t.Errorf("objects are %s", objects)
	}
}

// A waypoint's deployment comes and goes with its Gateway, also when the Gateway went while nobody looked.
func TestDeploymentFollowsTheGateway(t *testing.T) {
	b := newBench(t)
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("deploy/theirs.yaml", "kind: ConfigMap\n") // not ours: stays
	_, stop := b.start()
	const file = "deploy/shop_way.yaml"
	deployed := func() bool { return strings.Contains(b.read(file), "kind: Deployment") }
	eventually(t, "it is deployed", deployed)
	b.remove("src/gateway.yaml")
	eventually(t, "it is removed", func() bool { return b.read(file) == "" && b.read("state/status/gateway/shop_way.yaml") == "" })
	b.write("src/gateway.yaml", gatewayYAML)
	eventually(t, "it is deployed again", func() bool { return deployed() && b.read("state/status/gateway/shop_way.yaml") != "" })
	stop()
	if !deployed() {
		t.Error("it was removed when the controller stopped")
	}
	b.remove("src/gateway.yaml")
	b.start()
	eventually(t, "what an earlier run left is removed", func() bool { return b.read(file) == "" && b.read("state/status/gateway/shop_way.yaml") == "" })
	if b.read("deploy/theirs.yaml") == "" {
		t.Error("a file that we did not write was removed")
	}
}

// Of two Gateways of one name one is deployed, always the same, and the other is reported.
func TestTwoGatewaysOfOneName(t *testing.T) {
	b := newBench(t)
	b.write("src/a.yaml", gatewayYAML)
	b.write("src/b.yaml", strings.Replace(gatewayYAML, "waypoint-for: service", "waypoint-for: workload", 1))
	b.start()
	eventually(t, "one is deployed", func() bool { return strings.Contains(b.read("deploy/shop_way.yaml"), "kind: Deployment") })
	var e entry
	eventually(t, "the other is reported", func() bool { e = b.status("Gateway", "shop", "way"); return len(e.Problems) > 0 })
	if p := e.Problems[0]; !strings.HasSuffix(e.File, "/a.yaml") || !strings.HasSuffix(p.File, "/b.yaml") || p.Line != 1 || !strings.Contains(p.Message, "another object of this kind and name") {
		t.Errorf("in force is %s, reported is %+v", e.File, p)
	}
	b.remove("src/a.yaml")
	eventually(t, "the other takes its place", func() bool {
		e = b.status("Gateway", "shop", "way")
		return strings.HasSuffix(e.File, "/b.yaml") && len(e.Problems) == 0
	})
	if b.read("deploy/shop_way.yaml") == "" {
		t.Error("the deployment went although a Gateway of the name is there")
	}
}

// Transition times stay over edits and restarts until the condition changes; observedGeneration follows edits.
func TestTransitionTimesStay(t *testing.T) {
	b := newBench(t)
	good := fmt.Sprintf(policyYAML, "p", `principals: ["cluster.local/ns/shop/sa/cart"]`)
	b.write("src/p.yaml", good+service("cart", 80, ""))
	_, stop := b.start()
	const file = "state/status/authorizationpolicy/shop_p.yaml"
	eventually(t, "status is written", func() bool { return b.read(file) != "" })
	stop()
	times := regexp.MustCompile(`lastTransitionTime: "[^"]*"`)
	b.write(file, times.ReplaceAllString(b.read(file), `lastTransitionTime: "2001-02-03T04:05:06Z"`))

	b.start()
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	check := func(what string, done func(entry) bool, unchanged bool) {
		t.Helper()
		var e entry
		eventually(t, what, func() bool { e = b.status("AuthorizationPolicy", "shop", "p"); return len(e.Conditions) > 0 && done(e) })
		for _, c := range e.Conditions {
			if c.ObservedGeneration != e.Generation {
				t.Errorf("%s: %s is of generation %d, the object of %d", what, c.Type, c.ObservedGeneration, e.Generation)
			}
			if same := c.LastTransitionTime.Equal(old); c.Type == "Accepted" && same != unchanged {
				t.Errorf("%s: Accepted (%s) since %v", what, c.Status, c.LastTransitionTime)
			}
		}
	}
	check("after the restart", func(entry) bool { return true }, true)
	first := b.status("AuthorizationPolicy", "shop", "p").Generation
	b.write("src/p.yaml", strings.Replace(good, "sa/cart", "sa/bank", 1)+service("cart", 80, ""))
	check("after an edit", func(e entry) bool { return e.Generation == first+1 }, true)
	b.write("src/p.yaml", strings.Replace(good, "spec:\n", "spec:\n  targetRefs: [{kind: Service, name: gone}]\n", 1)+service("cart", 80, ""))
	check("after it could not be accepted any more", func(e entry) bool { return e.Generation == first+2 }, false)
}

// program runs the bench's controller as a process of its own.
func (b *bench) program() *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(os.Args[0], "--"+"source", b.c.sources[0], "--state-dir", b.c.stateDir, "--deploy-dir", b.c.deployDir, "--listen", b.c.listen,
		"--debug-listen", "off", "--admin-socket", b.c.adminSocket, "--ca-dir", b.c.caDir, "--token-public-key", b.c.tokenKey, "--log-level", "info")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if b.t.Failed() {
			b.t.Logf("log of the program:\n%s", b.read("log"))
		}
	})
	return cmd
}

// address is where the program said that it serves.
func (b *bench) address() string {
	b.t.Helper()
	at := regexp.MustCompile(`"address": "([^"]+)", "trustDomain"`)
	var m []string
	eventually(b.t, "the program serves", func() bool { m = at.FindStringSubmatch(b.read("log")); return m != nil && b.page("/ready") != "" })
	return m[1]
}

func TestSIGTERMEndsCleanly(t *testing.T) {
	b := newBench(t)
	b.write("src/a.yaml", service("cart", 80, ""))
	cmd := b.program()
	z := b.ztunnel(b.address())
	eventually(t, "a client is served", func() bool { return z.service("cart") != nil })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v, want exit code 0", err)
	}
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*config)
		want   string
	}{
		"no key":         {func(c *config) { c.tokenKey = "" }, "weft-controller token --create-key"},
		"no source":      {func(c *config) { c.sources = nil }, "--source dir:PATH"},
		"odd source":     {func(c *config) { c.sources = []string{"ftp:x"} }, "want dir:PATH"},
		"short lives":    {func(c *config) { c.certTTL = time.Second }, "at least 30s"},
		"address in use": {func(c *config) { c.listen = "256.0.0.1:1" }, "listen for xDS and CA"},
		"log format":     {func(c *config) { c.logFormat = "xml" }, "want text or json"},
		"key is no key":  {func(c *config) { c.tokenKey = os.Args[0] }, "--token-public-key"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tc.change(&b.c)
			if err := run(t.Context(), b.c); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that says %q", err, tc.want)
			}
		})
	}
}

// The subcommands work on the same folders as the program.
func TestKeysAndRoots(t *testing.T) {
	dir := t.TempDir()
	do := func(args ...string) (string, error) {
		var out strings.Builder
		cmd := command()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		err := cmd.Execute()
		return out.String(), err
	}
	key, root := filepath.Join(dir, "k"), filepath.Join(dir, "ca")
	if out, err := do("token", "--create-key", "--key", key, "--service-account", "weft-system/weft-ztunnel", "--node", "n1"); err != nil || strings.Count(out, ".") != 2 {
		t.Errorf("token: %q, %v", out, err)
	}
	if _, err := do("ca", "init", "--ca-dir", root); err != nil {
		t.Error(err)
	}
	if _, err := do("ca", "init", "--ca-dir", root); err == nil {
		t.Error("a root was overwritten")
	}
	for _, want := range []string{"introduced", "promoted", "none"} {
		if out, err := do("ca", "rotate", "--force", "--ca-dir", root); err != nil || !strings.Contains(out, want) {
			t.Errorf("rotate: %q, %v; want %s", out, err, want)
		}
	}
	if _, err := do("ca", "rotate", "--ca-dir", root); err != nil {
		t.Error(err)
	}
	if _, err := do("ca", "rotate", "--ca-dir", root); err == nil || !strings.Contains(err.Error(), ca.ErrTooEarly.Error()) {
		t.Errorf("the second step at once: %v", err)
	}
	if out, err := do("ca", "show", "--ca-dir", root); err != nil || !strings.Contains(out, `"phase": "introduced"`) {
		t.Errorf("show: %q, %v", out, err)
	}
}
