package cli

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

// Which mesh is asked: flags first, then the environment, then what there is.
func TestWhichMeshIsAsked(t *testing.T) {
	tests := []struct {
		name       string
		args       []string
		target     string
		kubeconfig bool
		plugin     bool
		cluster    bool
		fails      bool
	}{
		{name: "nothing there"},
		{name: "a kubeconfig is there", kubeconfig: true, cluster: true},
		{name: "a context is named", args: []string{"--context", "x"}, cluster: true},
		{name: "a lab is named", args: []string{"--name", "lab"}, kubeconfig: true},
		{name: "a socket is named", args: []string{"--controller-socket", "/x"}, kubeconfig: true},
		{name: "both are named", args: []string{"--name", "lab", "--kubeconfig", "/x"}, fails: true},
		{name: "the environment says lab", target: "lab", kubeconfig: true},
		{name: "the environment says cluster", target: "cluster", cluster: true},
		{name: "a flag beats the environment", args: []string{"--context", "x"}, target: "lab", cluster: true},
		{name: "the environment says neither", target: "moon", fails: true},
		{name: "kubectl's plugin", plugin: true, cluster: true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("KUBECONFIG", "")
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			t.Setenv(targetEnv, tc.target)
			if tc.kubeconfig {
				t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "config"))
			}
			var out bytes.Buffer
			e := &env{stdin: &out, stdout: &out, stderr: &out, plugin: tc.plugin}
			var r remote
			cmd := &cobra.Command{Use: "x"}
			e.kube = newKubeFlags(cmd)
			r.flags(e, cmd)
			if err := cmd.ParseFlags(tc.args); err != nil {
				t.Fatal(err)
			}
			if !cmd.Flags().Changed("name") {
				r.lab = "no-lab-of-this-name"
			}
			got, err := r.onCluster()
			if got != tc.cluster || (err != nil) != tc.fails {
				t.Errorf("cluster %t, %v", got, err)
			}
		})
	}
}
