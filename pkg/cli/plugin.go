package cli

import (
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"
)

// isPlugin reports that the program was called as kubectl's plugin: kubectl runs kubectl-weft for `kubectl weft`.
func isPlugin(arg0 string) bool { return filepath.Base(arg0) == "kubectl-weft" }

var ownName = regexp.MustCompile(`\bweftctl `)

// asCalled writes commands in a text as the person types them.
func (e *env) asCalled(text string) string {
	if !e.plugin {
		return text
	}
	return ownName.ReplaceAllString(text, "kubectl weft ")
}

// adapt makes the help texts of a command and of those below it say how the program was called.
func (e *env) adapt(cmd *cobra.Command) {
	cmd.Short, cmd.Long, cmd.Example = e.asCalled(cmd.Short), e.asCalled(cmd.Long), e.asCalled(cmd.Example)
	for _, c := range cmd.Commands() {
		e.adapt(c)
	}
}
