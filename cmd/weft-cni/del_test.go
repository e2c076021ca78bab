package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/pkg/cni"
)

// Whatever is wrong, DEL succeeds and says nothing on standard output.
func TestDelAlwaysSucceeds(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), cni.PluginName)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	good := []string{"GORACE=atexit_sleep_ms=0", "CNI_COMMAND=DEL", "CNI_CONTAINERID=c", "CNI_IFNAME=eth0", "CNI_PATH=/", "CNI_ARGS=K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"}
	conf := `{"cniVersion":"1.0.0","name":"n","type":"weft-cni","socket":"/nonexistent/cni.sock"}`
	for what, c := range map[string]struct {
		env   []string
		stdin string
	}{
		"no agent":         {good, conf},
		"no namespace":     {append(good, "CNI_NETNS=/run/netns/of-no-pod"), conf},
		"own namespace":    {append(good, "CNI_NETNS=/proc/self/ns/net"), conf},
		"no arguments":     {good[:2], conf},
		"odd arguments":    {append(good, "CNI_ARGS=;;=;a=b=c", "CNI_IFNAME=a/b"), conf},
		"no configuration": {good, ""},
		"garbage":          {good, "\x00{"},
		"future version":   {good, `{"cniVersion":"9.0.0","name":"n","type":"weft-cni"}`},
		"wrong types":      {good, `{"cniVersion":"1.0.0","name":"n","type":"weft-cni","socket":1,"prevResult":7}`},
		"broken result":    {good, `{"cniVersion":"1.0.0","name":"n","type":"weft-cni","socket":"/x","prevResult":{"ips":5}}`},
	} {
		var out bytes.Buffer
		cmd := exec.Command(link)
		cmd.Env, cmd.Stdin, cmd.Stdout = c.env, bytes.NewReader([]byte(c.stdin)), &out
		if err := cmd.Run(); err != nil || out.Len() > 0 {
			t.Errorf("%s: %v %s", what, err, out.String())
		}
	}
	// ADD with the same is an error that the runtime can read.
	cmd := exec.Command(link)
	cmd.Env, cmd.Stdin = append(good, "CNI_COMMAND=ADD", "CNI_NETNS=/x"), bytes.NewReader([]byte("\x00{"))
	if out, err := cmd.Output(); err == nil || !bytes.Contains(out, []byte(`"code"`)) {
		t.Errorf("%v %s", err, out)
	}
}
