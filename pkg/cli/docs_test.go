package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shellBlock is a block of commands in a page; e2e/docs runs those that do not say not-run, and why.
var shellBlock = regexp.MustCompile("(?ms)^```sh([^\n]*)\n(.*?)^```$")

// Every command line of weftctl in the pages and in the README is one that weftctl takes.
func TestDocsSpeakOfCommandsThatThereAre(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			if mark := strings.TrimSpace(block[1]); mark != "" && !strings.HasPrefix(mark, "not-run: ") {
				t.Errorf("%s: a shell block is marked %q: want nothing, or not-run: and why", page, mark)
			}
			for line := range strings.Lines(block[2]) {
				if line = strings.TrimSpace(strings.TrimPrefix(line, "sudo ")); strings.HasPrefix(line, "weftctl ") {
					seen++
					if err := takes(strings.Fields(strings.SplitN(line, " > ", 2)[0])[1:]); err != nil {
						t.Errorf("%s: %s: %v", filepath.Base(page), line, err)
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found in the pages", seen)
	}
}

// takes reports whether weftctl knows the command, its flags and the number of its arguments.
func takes(args []string) error {
	var out bytes.Buffer
	root := newRoot(&env{stdin: &out, stdout: &out, stderr: &out})
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root {
		return errors.New("no such command")
	}
	if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	return check(cmd, cmd.Flags().Args())
}
