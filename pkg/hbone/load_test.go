package hbone

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is the process with the applications, driven by lines.
type load struct {
	b   *testing.B
	app string // where its servers listen
	in  io.Writer
	out *bufio.Reader
}

const loadEnv = "HBONE_BENCH_LOAD"

func startLoad(b *testing.B) *load {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	l := &load{b: b, in: in, out: bufio.NewReader(out)}
	l.app = l.line()
	return l
}

func (l *load) line() string {
	s, err := l.out.ReadString('\n')
	must(l.b, err)
	return strings.TrimSpace(s)
}

func (l *load) do(format string, args ...any) string {
	fmt.Fprintf(l.in, format+"\n", args...)
	s := l.line()
	if !strings.HasPrefix(s, "ok") {
		l.b.Fatal(s)
	}
	return s
}

func (l *load) quantiles(b *testing.B, s string) {
	var p50, p99 float64
	fmt.Sscanf(s, "ok %g %g", &p50, &p99)
	b.ReportMetric(p50, "p50-µs")
	b.ReportMetric(p99, "p99-µs")
}

// runLoad is the process's main.
func runLoad() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go serve(l, appServe)
	fmt.Println(l.Addr())
	w := &worker{}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := w.handle(strings.Fields(in.Text()))
		if err != nil {
			fmt.Println("failed:", in.Text(), err)
			continue
		}
		fmt.Println("ok", answer)
	}
}

func serve(l net.Listener, f func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			f(c)
		}()
	}
}

const loadBuf = 256 << 10

// appServe is the server application: the first 9 bytes say what to do and how many bytes to send.
func appServe(c net.Conn) {
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	switch head[0] {
	case 'u':
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, loadBuf))
		binary.Write(c, binary.BigEndian, n)
	case 'd':
		send(c, int64(binary.BigEndian.Uint64(head[1:])))
	case 'e':
		copyOver(c, c)
	}
}

func send(c net.Conn, n int64) (err error) {
	for b := make([]byte, loadBuf); n > 0 && err == nil; n -= loadBuf {
		_, err = c.Write(b[:min(n, loadBuf)])
		sent.Add(min(n, loadBuf))
	}
	return err
}

var sent atomic.Int64

type worker struct{ ends []net.Conn }

func (w *worker) handle(f []string) (string, error) {
	num := func(i int) (n int) { fmt.Sscan(f[i], &n); return n }
	switch f[0] {
	case "move":
		return "", parallel(num(3), num(4), func(n int) error { return move(f[1], f[2][0], int64(n)<<20) })
	case "visit":
		return "", parallel(8, num(2), func(n int) error { return visit(f[1], n) })
	case "fill":
		for range num(2) {
			c, err := dialApp(f[1], 'u', 0)
			if err != nil {
				return "", err
			}
			go send(c, 1<<50) // until the process ends
		}
		return "", nil
	case "open":
		for range num(2) {
			c, err := dialApp(f[1], 'e', 0)
			if err == nil {
				err = ask(c)
			}
			if err != nil {
				return "", err
			}
			w.ends = append(w.ends, c)
		}
		return "", nil
	case "ask":
		return w.ask(num(1))
	case "sent":
		return fmt.Sprint(sent.Swap(0)), nil
	}
	return "", fmt.Errorf("unknown command")
}

// parallel divides n among k workers.
func parallel(k, n int, f func(n int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, k)
	for i := range k {
		wg.Go(func() {
			if n := (n + i) / k; n > 0 {
				errs <- f(n)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func dialApp(addr string, mode byte, n int64) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = c.Write(binary.BigEndian.AppendUint64([]byte{mode}, uint64(n)))
	return c, err
}

func move(addr string, way byte, n int64) error {
	c, err := dialApp(addr, way, n)
	if err != nil {
		return err
	}
	defer c.Close()
	got := n
	if way == 'u' {
		if err := send(c, n); err != nil {
			return err
		}
		c.(*net.TCPConn).CloseWrite()
		err = binary.Read(c, binary.BigEndian, &got)
	} else {
		got, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, loadBuf))
	}
	if got != n {
		return fmt.Errorf("%d of %d bytes arrived, %v", got, n, err)
	}
	return err
}

func visit(addr string, n int) error {
	for range n {
		c, err := dialApp(addr, 'e', 0)
		if err != nil {
			return err
		}
		err = ask(c)
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func ask(c net.Conn) error {
	var buf [1024]byte
	if _, err := c.Write(buf[:]); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf[:])
	return err
}

// ask asks n times on all open connections and answers with the median and the 99th percentile in µs.
func (w *worker) ask(n int) (string, error) {
	var mu sync.Mutex
	var took []time.Duration
	next := make(chan net.Conn, len(w.ends))
	for _, c := range w.ends {
		next <- c
	}
	err := parallel(len(w.ends), n, func(n int) error {
		c := <-next
		mine := make([]time.Duration, 0, n)
		for range n {
			t := time.Now()
			if err := ask(c); err != nil {
				return err
			}
			mine = append(mine, time.Since(t))
		}
		mu.Lock()
		took = append(took, mine...)
		mu.Unlock()
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return fmt.Sprintf("%g %g", us(took[len(took)/2]), us(took[len(took)*99/100])), nil
}
