package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// strict makes wrong calls end with exit code 2, in every command below: cobra lets an unknown command of a
// group pass with the help text, and says of arguments only how many it wants.
func strict(cmd *cobra.Command) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = unknownCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &exitError{2, fmt.Errorf("%s takes %s, got %d arguments (see %[1]s --help)", cmd.CommandPath(), argumentsOf(cmd), len(args))}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		strict(c)
	}
}

// argumentsOf is what a command's usage line says after its name.
func argumentsOf(cmd *cobra.Command) string {
	if _, rest, ok := strings.Cut(cmd.Use, " "); ok {
		return rest
	}
	return "no arguments"
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("see %s --help", cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return &exitError{2, fmt.Errorf("unknown command %q for %q; %s", args[0], cmd.CommandPath(), hint)}
}

// misuse marks what cobra itself says of a wrong call, so that it ends with exit code 2 too.
func misuse(err error) error {
	var known *exitError
	if errors.As(err, &known) || !strings.HasPrefix(err.Error(), "required flag(s)") {
		return err
	}
	return &exitError{2, err}
}
