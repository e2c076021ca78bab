package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// As kubectl's plugin, every help text says what the person has to type.
func TestPluginSaysKubectl(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "completion" {
			return // shells complete kubectl's plugins by another way
		}
		for _, text := range []string{c.Short, c.Long, c.Example} {
			if strings.Contains(text, "weftctl ") {
				t.Errorf("%s: %q", c.CommandPath(), text)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	var out bytes.Buffer
	e := &env{stdin: &out, stdout: &out, stderr: &out, plugin: true}
	root := newRoot(e)
	walk(root)
	if status, _, _ := root.Find([]string{"status"}); !strings.Contains(status.Example, "  kubectl weft status") {
		t.Errorf("example of status: %q", status.Example)
	}
	if got := e.asCalled("run weftctl install, not /bin/weftctl"); got != "run kubectl weft install, not /bin/weftctl" {
		t.Error(got)
	}
	if !isPlugin("/usr/local/bin/kubectl-weft") || isPlugin("./weftctl") {
		t.Error("the program's name is not recognised")
	}
}
