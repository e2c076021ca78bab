package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	role        = "WEFT_TEST_HANDOVER"
	testVersion = "weft-test 1"
	manyFDs     = 2*batchOfFDs + 50
)

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "give":
		giveChild()
	case "take":
		takeChild()
	case "stranger":
		strangerChild()
	case "caller":
		callerChild()
	}
}

// childOptions stop or kill the process at one of its steps.
func childOptions() Options {
	return Options{Dir: os.Getenv("WEFT_TEST_DIR"), Version: testVersion, Timeout: childTimeout, step: func(step string) {
		if step != os.Getenv("WEFT_TEST_STEP") {
			return
		}
		sig, over := unix.SIGKILL, make(chan os.Signal, 1)
		if os.Getenv("WEFT_TEST_ACT") == "stop" {
			sig = unix.SIGSTOP
			signal.Notify(over, unix.SIGCONT)
		}
		fmt.Println("at", step)
		if err := unix.Kill(os.Getpid(), sig); err != nil {
			panic(err)
		}
		<-over
		signal.Stop(over)
	}}
}

const childTimeout = 2 * time.Second

// pen numbers what it writes to a descriptor: a number used twice would be a nonce used twice.
type pen struct {
	who  byte
	fd   int
	n    uint64
	stop chan struct{}
	done chan struct{}
}

func (p *pen) start() {
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(p.done)
		for {
			select {
			case <-p.stop:
				return
			case <-time.After(time.Millisecond):
			}
			p.n++
			if _, err := unix.Write(p.fd, binary.BigEndian.AppendUint64([]byte{p.who}, p.n)); err != nil {
				fmt.Println("write", err)
				return
			}
		}
	}()
}

func (p *pen) halt() {
	close(p.stop)
	<-p.done
}

type giver struct {
	pen
	fds   []int
	state []byte
}

func (g *giver) Freeze(context.Context) (Parcel, error) {
	g.halt()
	g.state = binary.BigEndian.AppendUint64(nil, g.n)
	return Parcel{State: g.state, FDs: g.fds}, nil
}

func (g *giver) wiped() {
	if !bytes.Equal(g.state, make([]byte, 8)) {
		fmt.Println("the state is still there")
	}
}

func (g *giver) Thaw() {
	g.wiped()
	g.start()
	fmt.Println("thawed")
}

func (g *giver) Drop() {
	g.wiped()
	g.n = 0
	closeAll(g.fds)
	fmt.Println("dropped")
}

func (g *giver) Done()      { fmt.Println("given") }
func (g *giver) Lost(error) { fmt.Println("lost") }

// giveChild has the stream as descriptor 3.
func giveChild() {
	g := &giver{pen: pen{who: 'p', fd: 3}, fds: []int{3}}
	for len(g.fds) < manyFDs {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		g.fds = append(g.fds, fd)
	}
	g.start()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // until the test lets go, whatever becomes of it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	defer cancel()
	if err := Serve(ctx, childOptions(), g, func(err error) { fmt.Println("kept:", err) }); err != nil {
		fmt.Println("serve:", err)
	}
	select {}
}

type taker struct{ pen }

func (k *taker) Prepare(_ context.Context, p Parcel) error {
	if os.Getenv("WEFT_TEST_ACT") == "refuse" {
		closeAll(p.FDs)
		return errors.New("cannot read this state")
	}
	if len(p.FDs) != manyFDs || len(p.State) != 8 {
		closeAll(p.FDs)
		return fmt.Errorf("got %d descriptors", len(p.FDs))
	}
	k.pen = pen{who: 's', fd: p.FDs[0], n: binary.BigEndian.Uint64(p.State)}
	closeAll(p.FDs[1:])
	return nil
}

func (k *taker) Discard() { unix.Close(k.fd) }

func (k *taker) Run() {
	k.start()
	fmt.Println("runs")
}

func takeChild() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	o := childOptions()
	if os.Getenv("WEFT_TEST_ACT") == "version" {
		o.Version = "weft-test 2"
	}
	if err := Take(context.Background(), o, new(taker)); err != nil {
		fmt.Println("fresh:", err)
	}
	select {}
}

// strangerChild says hello as another user, to whom some accident has opened the folder.
func strangerChild() {
	c, err := net.Dial("unix", filepath.Join(os.Getenv("WEFT_TEST_DIR"), SocketName))
	if err != nil {
		panic(err)
	}
	l := &line{c.(*net.UnixConn), childTimeout}
	_ = l.send(msgHello, append([]byte{protocol}, testVersion...))
	_, err = l.receive(msgWelcome)
	fmt.Println("answer:", err)
}

// callerChild connects, and lives until the test lets go.
func callerChild() {
	if _, err := net.Dial("unix", filepath.Join(os.Getenv("WEFT_TEST_DIR"), SocketName)); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}
