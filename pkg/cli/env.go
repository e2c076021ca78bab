package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// env is a command's surroundings.
type env struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	color  bool // stdout is a terminal that shows colours
	plugin bool // called as kubectl's plugin
	kube   *kubeFlags
}

// exitError ends the program with a code of its own; err may be nil when everything was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Main runs weftctl with the program's arguments and returns its exit code: 0 when all is well, 1 when the
// answer is bad news or something failed, 2 when it was called wrongly.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, color: wantColor(os.Stdout), plugin: isPlugin(os.Args[0])}
	return e.run(ctx, os.Args[1:])
}

func wantColor(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (e *env) run(ctx context.Context, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	err = misuse(err)
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			e.complain(exit.err)
		}
		return exit.code
	}
	e.complain(err)
	return 1
}

func (e *env) complain(err error) { fmt.Fprintln(e.stderr, "Error:", e.asCalled(err.Error())) }

// paint wraps text in a terminal colour where the terminal shows them.
func (e *env) paint(code, text string) string {
	if !e.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (e *env) green(s string) string { return e.paint("32", s) }
func (e *env) red(s string) string   { return e.paint("31", s) }
func (e *env) bold(s string) string  { return e.paint("1", s) }
func (e *env) dim(s string) string   { return e.paint("2", s) }
