package ztunnel_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/netns"
)

// Applications of these tests that must not be taken for the ztunnel are this test binary again, in a cgroup of
// their own: a server that tells each client who it is and echoes, and a client that is led line by line.
const appEnv = "WFT_ZTUNNEL_APP"

func appMain(role string, args []string) {
	go func() { // whoever started it is gone
		if role == "server" {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}
	}()
	if role == "server" {
		for _, at := range args {
			l, err := net.Listen("tcp", at)
			if err != nil {
				fmt.Println(err)
				return
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						fmt.Fprintf(c, "%s\n", netns.Source(c).Addr())
						io.Copy(c, c)
						c.Close()
					}()
				}
			}()
		}
		fmt.Println("ready")
		select {}
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp", args[0])
	if err != nil {
		fmt.Println("error", err)
		return
	}
	r := bufio.NewReader(c)
	answer := func() bool {
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		line, err := r.ReadString('\n')
		if err != nil {
			fmt.Println("error", err)
			return false
		}
		fmt.Print(line)
		return true
	}
	if !answer() {
		return
	}
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		if s.Text() != "" { // an empty line: wait for what comes
			fmt.Fprintln(c, s.Text())
		}
		if !answer() {
			return
		}
	}
	c.Close()
}

// app is one such process.
type app struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (l *kernelLab) app(role, pod string, args ...string) *app {
	l.t.Helper()
	dir, err := os.Open(l.appCgroup())
	must(l.t, err)
	defer dir.Close()
	a := &app{t: l.t, cmd: exec.Command("/proc/self/exe", args...)}
	a.cmd.Env = append(os.Environ(), appEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	a.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	must(l.t, err)
	a.out = bufio.NewReader(out)
	a.in, err = a.cmd.StdinPipe()
	must(l.t, err)
	must(l.t, l.pods[pod].Do(a.cmd.Start)) // cloned by the thread that is in the namespace
	l.t.Cleanup(a.end)
	return a
}

// end closes its connection, or stops the server, and waits for the process.
func (a *app) end() {
	if a.cmd.ProcessState == nil {
		a.in.Close()
		a.cmd.Wait()
	}
}

func (a *app) line() string {
	a.t.Helper()
	s, err := a.out.ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSuffix(s, "\n")
}

// say has a client send a line, or nothing, and returns what came back.
func (a *app) say(text string) string {
	a.t.Helper()
	fmt.Fprintln(a.in, text)
	return a.line()
}

// appCgroup is the applications' cgroup, beside the ztunnel's.
func (l *kernelLab) appCgroup() string {
	l.t.Helper()
	if l.apps != "" {
		return l.apps
	}
	root, err := bpf.CgroupRoot()
	must(l.t, err)
	l.apps = fmt.Sprintf("%s/wft-apps-%d-%d", root, os.Getpid(), time.Now().UnixNano())
	must(l.t, os.Mkdir(l.apps, 0o755))
	l.t.Cleanup(func() { until(l.t, "cgroup gone", func() bool { return os.Remove(l.apps) == nil }) })
	return l.apps
}
