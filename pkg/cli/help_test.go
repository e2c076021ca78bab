package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that a person may type says what it is for and shows how it is typed.
func TestEveryCommandHasAnExample(t *testing.T) {
	var out bytes.Buffer
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion" {
			return // completion's own commands come with instructions for each shell
		}
		switch {
		case c.Short == "":
			t.Errorf("%s: no short description", c.CommandPath())
		case c.Example == "":
			t.Errorf("%s: no example", c.CommandPath())
		case !strings.HasPrefix(c.Example, "  ") || !strings.Contains(c.Example, c.CommandPath()+" ") && !strings.HasSuffix(c.Example, c.CommandPath()):
			t.Errorf("%s: the example does not show the command: %q", c.CommandPath(), c.Example)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&env{stdin: &out, stdout: &out, stderr: &out}))
}
