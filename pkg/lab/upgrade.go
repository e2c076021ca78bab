package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Upgraded is what became of the upgrade of a node's ztunnel.
type Upgraded struct {
	Old int `json:"old"` // process
	New int `json:"new"`
	// Connections that went on, and for how long they stood still. None: the old process drains what it has.
	Connections int           `json:"connections"`
	Paused      time.Duration `json:"paused"`
	Problem     string        `json:"problem,omitempty"` // why the old one is still there
}

const (
	upgradeReady = 30 * time.Second // until a new ztunnel is ready
	upgradeDrain = 40 * time.Second // until an old one has drained, and is killed
	upgradeLook  = 100 * time.Millisecond
)

func (l Layout) upgradeAsked(node string) string { return l.Path(node, "upgrade") }
func (l Layout) upgradeDone(node string) string  { return l.Path(node, "upgraded.json") }

// Upgrade replaces the ztunnel of a node by a new process of the program that is there now, as a DaemonSet with
// surge does: the new one is ready, with the connections of the old one, before that is told to end.
func Upgrade(ctx context.Context, l Layout, node string) (*Upgraded, error) {
	if err := os.Remove(l.upgradeDone(node)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := writeFile(l.upgradeAsked(node), nil); err != nil {
		return nil, fmt.Errorf("no node %s in lab %s: %w", node, l.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*upgradeReady+10*time.Second)
	defer cancel()
	for {
		var u Upgraded
		switch err := readJSON(l.upgradeDone(node), &u); {
		case err == nil && u.Problem != "":
			return &u, fmt.Errorf("ztunnel of %s was not replaced: %s", node, u.Problem)
		case err == nil:
			return &u, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ztunnel of %s: nothing is heard of its upgrade: is the lab's supervisor running?", node)
		case <-time.After(upgradeLook / 2):
		}
	}
}

// hearUpgrades passes on what Upgrade asks for.
func (s *supervisor) hearUpgrades(ctx context.Context) {
	for {
		for _, n := range s.NodeNames() {
			ch := s.upgrades["ztunnel/"+n]
			if ch == nil || os.Remove(s.upgradeAsked(n)) != nil {
				continue
			}
			select {
			case ch <- struct{}{}:
			case <-ctx.Done():
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(upgradeLook):
		}
	}
}

// upgrade starts a successor of a process, and returns which one the program is now.
func (s *supervisor) upgrade(ctx context.Context, p program, old *process, restarts int) *process {
	u := &Upgraded{Old: old.PID}
	next, err := s.succeed(ctx, p, old)
	if err != nil { // as a kubelet does; and it may have taken everything already
		s.log.Warn("upgrade, trying again", zap.String("program", p.name), zap.Error(err))
		next, err = s.succeed(ctx, p, old)
	}
	if err != nil {
		u.Problem = err.Error()
		s.log.Warn("upgrade failed", zap.String("program", p.name), zap.Error(err))
		next = old
	} else {
		u.New = next.PID
		u.Connections, u.Paused = taken(ctx, p.admin)
		s.note(p, next, restarts)
	}
	if err := writeJSON(s.upgradeDone(p.node), u); err != nil {
		s.log.Warn("upgrade", zap.Error(err))
	}
	return next
}

func (s *supervisor) succeed(ctx context.Context, p program, old *process) (*process, error) {
	p.cgroup = fmt.Sprintf("%s-%d", p.cgroup, old.PID) // of its own, as another pod's would be
	next, err := s.start(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upgradeReady)
	defer cancel()
	for !isUp(ctx, p.admin, next.PID) {
		select {
		case err := <-next.ended:
			return nil, fmt.Errorf("the new process ended: %w (see weftctl lab logs)", err)
		case <-ctx.Done():
			_ = next.stop(0)
			return nil, fmt.Errorf("the new process was not ready after %v", upgradeReady)
		case <-time.After(upgradeLook):
		}
	}
	go func() {
		_ = old.stop(upgradeDrain) // how it ends is nobody's concern
		if err := removeCgroup(old.cgroup); err != nil {
			s.log.Warn("upgrade", zap.Error(err))
		}
	}()
	return next, nil
}

// adminOf speaks to the admin socket of a process; 0: of any.
func adminOf(socket string, pid int) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if err == nil && pid != 0 && listenerOf(c) != pid {
				c.Close()
				err = errors.New("another process listens there")
			}
			return c, err
		}}}
}

// listenerOf is the process that listens at the other end.
func listenerOf(c net.Conn) (pid int) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func get(ctx context.Context, c *http.Client, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ztunnel"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return resp.Body, nil
}

func isUp(ctx context.Context, socket string, pid int) bool {
	b, err := get(ctx, adminOf(socket, pid), "/ready")
	if err == nil {
		b.Close()
	}
	return err == nil
}

// taken is what a new ztunnel says that it has taken over.
func taken(ctx context.Context, socket string) (connections int, paused time.Duration) {
	b, err := get(ctx, adminOf(socket, 0), "/metrics")
	if err != nil {
		return 0, 0
	}
	defer b.Close()
	for lines := bufio.NewScanner(b); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case `weft_upgrade_connections_total{what="taken"}`:
			connections = int(n)
		case "weft_upgrade_pause_seconds":
			paused = time.Duration(n * float64(time.Second))
		}
	}
	return connections, paused
}
