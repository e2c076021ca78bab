// Command load is both ends of connections that must survive whatever happens between them.
//
//	load serve PORT           sends back what it reads
//	load call HOST:PORT N     holds N connections, and compares what comes back byte for byte
//
// The caller prints a line of JSON every 100 ms, see Stats. A few of its connections move bulk, the others messages;
// besides, it makes connections all the time that carry one message.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Stats since the start.
type Stats struct {
	Held    int64  `json:"held"`    // connections that live
	Bytes   int64  `json:"bytes"`   // that came back and were right
	Broken  int64  `json:"broken"`  // connections that ended, or returned something else
	Churned int64  `json:"churned"` // connections made, used and closed
	Failed  int64  `json:"failed"`  // of those that should have been
	Longest int64  `json:"longest"` // ms that a message and its answer took at most, since the last line
	Why     string `json:"why,omitempty"`
}

var (
	stats   Stats
	longest atomic.Int64
	mu      sync.Mutex // protects stats.Why
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		fail(serve(os.Args[2]))
	}
	if len(os.Args) != 4 || os.Args[1] != "call" {
		fail(fmt.Errorf("want: load serve PORT, or load call HOST:PORT N"))
	}
	n, err := strconv.Atoi(os.Args[3])
	fail(err)
	for i := range n {
		go hold(os.Args[2], uint64(i), i < min(4, n/100))
		time.Sleep(time.Millisecond)
	}
	go churn(os.Args[2])
	out := json.NewEncoder(os.Stdout)
	for ; ; time.Sleep(100 * time.Millisecond) {
		mu.Lock()
		s := Stats{Held: atomic.LoadInt64(&stats.Held), Bytes: atomic.LoadInt64(&stats.Bytes), Broken: atomic.LoadInt64(&stats.Broken),
			Churned: atomic.LoadInt64(&stats.Churned), Failed: atomic.LoadInt64(&stats.Failed), Longest: longest.Swap(0) / 1e6, Why: stats.Why}
		mu.Unlock()
		fail(out.Encode(s))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func serve(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(c, c)
			c.Close()
		}()
	}
}

func why(err error) {
	mu.Lock()
	stats.Why = err.Error()
	mu.Unlock()
}

// dial tries for as long as the mesh is not there yet.
func dial(to string) net.Conn {
	for {
		c, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err == nil {
			if err = talk(c, make([]byte, 64), make([]byte, 64)); err == nil {
				return c
			}
			c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// talk sends b and wants it back.
func talk(c net.Conn, b, got []byte) error {
	began := time.Now()
	if err := c.SetDeadline(began.Add(20 * time.Second)); err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() { _, err := c.Write(b); wrote <- err }()
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if err := <-wrote; err != nil {
		return err
	}
	if string(b) != string(got) {
		return fmt.Errorf("%d bytes came back changed", len(b))
	}
	for d := int64(time.Since(began)); ; {
		old := longest.Load()
		if d <= old || longest.CompareAndSwap(old, d) {
			return nil
		}
	}
}

// hold keeps a connection, and makes another one when it breaks.
func hold(to string, i uint64, bulk bool) {
	for {
		c := dial(to)
		atomic.AddInt64(&stats.Held, 1)
		why(chat(c, i, bulk))
		c.Close()
		atomic.AddInt64(&stats.Broken, 1)
		atomic.AddInt64(&stats.Held, -1)
	}
}

func chat(c net.Conn, i uint64, bulk bool) error {
	r := rand.New(rand.NewPCG(i, 1))
	most := 2000
	if bulk {
		most = 1 << 20
	}
	b, got := make([]byte, most), make([]byte, most)
	for {
		n := 8 + r.IntN(most-8)
		fill(r, b[:n])
		if err := talk(c, b[:n], got[:n]); err != nil {
			return err
		}
		atomic.AddInt64(&stats.Bytes, int64(n))
		if !bulk {
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
	}
}

func fill(r *rand.Rand, b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, r.Uint64())
	}
}

func churn(to string) {
	b, got := []byte("connect, request, close"), make([]byte, 23)
	dial(to).Close()
	for ; ; time.Sleep(10 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err == nil {
			err = talk(c, b, got)
			c.Close()
		}
		if err != nil {
			why(fmt.Errorf("churn: %w", err))
			atomic.AddInt64(&stats.Failed, 1)
			continue
		}
		atomic.AddInt64(&stats.Churned, 1)
	}
}
