package bpf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// Helpers are this test binary again, started in a namespace and cgroup of the
// lab: applications, clients, attackers and a ztunnel without TLS.
var roles = map[string]func(args []string) error{
	"hold":    roleHold,
	"many":    roleMany,
	"echo":    roleEcho,
	"client":  roleClient,
	"dns":     roleDNS,
	"ztunnel": roleZtunnel,
	"attack":  roleAttack,
	"burst":   roleBurst,
	"pump":    rolePump,
	"kinds":   roleKinds,
	"load":    roleLoad,
}

const roleEnv = "WFT_BPF_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		go func() { // the test that started it is gone, however it went
			io.Copy(io.Discard, os.Stdin)
			os.Exit(2)
		}()
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type helper struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	stderr *bytes.Buffer
	kill   func()
}

// start runs a role until the test ends, and waits for it to say that it is ready.
func (l *lab) start(role string, ns *netns.NS, cgroup string, files []*os.File, args ...string) *helper {
	l.t.Helper()
	h := l.spawn(role, ns, cgroup, files, args...)
	line, err := h.out.ReadString('\n')
	if err != nil || line != "ready\n" {
		h.kill()
		l.t.Fatalf("%s did not start: %q %v %s", role, line, err, h.stderr)
	}
	return h
}

func (l *lab) spawn(role string, ns *netns.NS, cgroup string, files []*os.File, args ...string) *helper {
	l.t.Helper()
	dir, err := os.Open(l.mkCgroup(cgroup))
	must(l.t, err)
	defer dir.Close()
	h := &helper{cmd: exec.Command("/proc/self/exe", args...), stderr: &bytes.Buffer{}}
	// The race detector's second of waiting at exit adds up.
	h.cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	h.cmd.Stderr = h.stderr
	h.cmd.ExtraFiles = files
	h.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	pipe, err := h.cmd.StdoutPipe()
	must(l.t, err)
	h.out = bufio.NewReader(pipe)
	alive, err := h.cmd.StdinPipe()
	must(l.t, err)
	l.t.Cleanup(func() { alive.Close() })
	// The child is cloned by this very thread, and so starts in the namespace.
	inside(l.t, ns, h.cmd.Start)
	var once sync.Once
	h.kill = func() {
		once.Do(func() {
			h.cmd.Process.Kill()
			h.cmd.Wait()
		})
	}
	l.t.Cleanup(h.kill)
	return h
}

// run runs a role to its end and returns what it printed.
func (l *lab) run(role string, ns *netns.NS, cgroup string, args ...string) string {
	l.t.Helper()
	h := l.spawn(role, ns, cgroup, nil, args...)
	b, _ := io.ReadAll(h.out)
	if err := h.cmd.Wait(); err != nil {
		l.t.Fatalf("%s %v: %v %s", role, args, err, h.stderr)
	}
	return strings.TrimSpace(string(b))
}

// outcome of one client connection.
type outcome struct {
	OK      bool
	Saw     string // the client's address as the server saw it
	Via     string // the server's own address
	Peer    string // whom the client was told that it talks to
	Err     string
	Errno   int
	Elapsed time.Duration
}

// dial connects from pod name (in its own cgroup) and exchanges one line.
func (l *lab) dial(name string, to netip.AddrPort, args ...string) outcome {
	l.t.Helper()
	return l.dialFrom(l.pods[name].ns, "pod-"+name, to, args...)
}

func (l *lab) dialFrom(ns *netns.NS, cgroup string, to netip.AddrPort, args ...string) outcome {
	l.t.Helper()
	var o outcome
	out := l.run("client", ns, cgroup, append([]string{to.String()}, args...)...)
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		l.t.Fatalf("client printed %q: %v", out, err)
	}
	return o
}

// roleEcho answers each line with the addresses of the connection: LISTEN…
func roleEcho(args []string) error {
	for _, at := range args {
		li, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := li.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for s := bufio.NewScanner(c); s.Scan(); {
						fmt.Fprintf(c, "%v %v %s\n", netns.Source(c), netns.OriginalDst(c), s.Text())
					}
				}()
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

// roleClient: DST [mark=N] [dev=NAME] [source=IP] [port=N] [wait=DURATION]
func roleClient(args []string) error {
	d := net.Dialer{Timeout: 3 * time.Second}
	for _, a := range args[1:] {
		if v, ok := strings.CutPrefix(a, "wait="); ok {
			d.Timeout, _ = time.ParseDuration(v)
		}
		if v, ok := strings.CutPrefix(a, "port="); ok {
			port, _ := strconv.Atoi(v)
			d.LocalAddr = &net.TCPAddr{Port: port}
		}
	}
	d.SetMultipathTCP(false)
	d.Control = func(_, _ string, rc syscall.RawConn) (err error) {
		cerr := rc.Control(func(fd uintptr) {
			for _, a := range args[1:] {
				k, v, _ := strings.Cut(a, "=")
				switch k {
				case "mark":
					var m int
					fmt.Sscanf(v, "%v", &m)
					err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, m))
				case "dev":
					err = errors.Join(err, unix.BindToDevice(int(fd), v))
				case "source":
					err = errors.Join(err, borrow(int(fd), netip.MustParseAddr(v)))
				}
			}
		})
		return errors.Join(err, cerr)
	}
	start := time.Now()
	c, err := d.Dial("tcp", args[0])
	o := outcome{}
	if err == nil {
		o.Peer = c.RemoteAddr().String()
		c.SetDeadline(start.Add(3 * time.Second))
		fmt.Fprintln(c, "hello")
		var line string
		line, err = bufio.NewReader(c).ReadString('\n')
		if f := strings.Fields(line); len(f) == 3 {
			o.OK, o.Saw, o.Via = true, f[0], f[1]
		}
	}
	o.Elapsed = time.Since(start)
	if err != nil {
		o.Err = err.Error()
		var no syscall.Errno
		if errors.As(err, &no) {
			o.Errno = int(no)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

func borrow(fd int, a netip.Addr) error {
	if a.Is4() {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: a.As4()}))
	}
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1),
		unix.Bind(fd, &unix.SockaddrInet6{Addr: a.As16()}))
}

// roleHold: DST… opens a connection, says so, and reports how it ended.
func roleHold(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(c, "hello")
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = r.ReadString('\n')
	fmt.Println(err)
	return nil
}

// roleMany: DST UNTIL-FILE connects again and again until the file is there,
// then prints how many connections were made and how many failed.
func roleMany(args []string) error {
	fmt.Println("ready")
	var good, bad int
	var last error
	for {
		if _, err := os.Stat(args[1]); err == nil {
			break
		}
		c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
		if err == nil {
			c.SetDeadline(time.Now().Add(2 * time.Second))
			fmt.Fprintln(c, "hello")
			_, err = bufio.NewReader(c).ReadString('\n')
			c.Close()
		}
		if err != nil {
			bad++
			last = err
		} else {
			good++
		}
	}
	fmt.Println(good, bad, last)
	return nil
}

// roleDNS: SERVER connected|unconnected; prints the answer or the error.
func roleDNS(args []string) error {
	to := netip.MustParseAddrPort(args[0])
	b := make([]byte, 512)
	start := time.Now()
	var err error
	var n int
	from := to
	if args[1] == "connected" {
		var c net.Conn
		if c, err = net.Dial("udp", args[0]); err == nil {
			c.SetDeadline(time.Now().Add(2 * time.Second))
			if _, err = c.Write([]byte("query")); err == nil {
				n, err = c.Read(b)
			}
		}
	} else {
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp", nil); err == nil {
			c.SetDeadline(time.Now().Add(2 * time.Second))
			if _, err = c.WriteToUDPAddrPort([]byte("query"), to); err == nil {
				n, from, err = c.ReadFromUDPAddrPort(b)
			}
		}
	}
	if err != nil {
		fmt.Printf("error after %v: %v\n", time.Since(start).Round(100*time.Millisecond), err)
		return nil
	}
	fmt.Printf("%s from %v\n", b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	return nil
}

func (p *labPod) at(port uint16, v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(p.ip6, port)
	}
	return netip.AddrPortFrom(p.ip4, port)
}

func bothFamilies(t *testing.T, fn func(t *testing.T, v6 bool)) {
	t.Run("IPv4", func(t *testing.T) { fn(t, false) })
	t.Run("IPv6", func(t *testing.T) { fn(t, true) })
}
