package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// PathBeside is the socket that goes with an agent's socket for ztunnels.
func PathBeside(zds string) string { return filepath.Join(filepath.Dir(zds), "direct.sock") }

// greeting is the agent's only message; the maps' descriptors come with it, in the order of Maps.
type greeting struct {
	Version int      `json:"version"`
	Maps    []string `json:"maps"`
}

const version = 1

// Hand gives the maps to ztunnels that connect to the socket at path, until ctx ends: to one at a time. The next
// gets them when the connection of the one before has ended, so that two never write at once. Only root may ask.
func Hand(ctx context.Context, path string, maps map[string]*ebpf.Map, log *zap.Logger) error {
	l, err := listen(path)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	turn := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", path, err)
		}
		wg.Go(func() {
			defer c.Close()
			if err := serve(ctx, c, turn, maps); err != nil && ctx.Err() == nil {
				log.Warn("the maps of the direct path were not handed over", zap.Error(err))
			}
		})
	}
}

// serve waits for c's turn, and keeps it until c ends.
func serve(ctx context.Context, c *net.UnixConn, turn chan struct{}, maps map[string]*ebpf.Map) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = c.Read(make([]byte, 1)) // nothing is ever said: it returns when the other end is gone
	}()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-gone:
		return nil
	case <-ctx.Done():
		return nil
	}
	g := greeting{Version: version}
	var fds []int
	for _, name := range mapNames {
		if m := maps[name]; m != nil {
			g.Maps, fds = append(g.Maps, name), append(fds, m.FD())
		}
	}
	b, err := json.Marshal(g)
	if err != nil {
		return err
	}
	if _, _, err := c.WriteMsgUnix(b, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	<-gone
	return nil
}

func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the socket for the direct path: %w", err)
	}
	// One agent a node: the one of the ZDS socket beside it, which refuses a second.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of a former agent: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen for ztunnels: %w", err)
	}
	// Whoever has the maps decides who talks past policy.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Take asks the agent for the maps and waits until it is this ztunnel's turn. The connection has to be kept open
// for as long as the maps are written to, and ends when the agent does; they go on working without one.
func Take(ctx context.Context, path string) (*Maps, net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, nil, fmt.Errorf("the agent's maps of the direct path: %w", err)
	}
	c := conn.(*net.UnixConn) //nolint:forcetypeassert // of that network
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	maps, err := receive(c)
	if err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("the agent's maps of the direct path: %w", err)
	}
	m, err := Open(maps)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return m, c, nil
}

func receive(c *net.UnixConn) (map[string]*ebpf.Map, error) {
	b, oob := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	fds, err := descriptors(oob[:oobn])
	if err != nil {
		return nil, err
	}
	var g greeting
	err = json.Unmarshal(b[:n], &g)
	switch {
	case err != nil:
	case g.Version != version:
		err = fmt.Errorf("version %d of the protocol, this ztunnel speaks %d", g.Version, version)
	case len(g.Maps) != len(fds) || slices.Contains(g.Maps, ""):
		err = fmt.Errorf("%d names for %d maps", len(g.Maps), len(fds))
	}
	out := map[string]*ebpf.Map{}
	for i, fd := range fds {
		if err != nil {
			unix.Close(fd)
			continue
		}
		var m *ebpf.Map
		if m, err = ebpf.NewMapFromFD(fd); err == nil {
			out[g.Maps[i]] = m
		}
	}
	if err != nil {
		for _, m := range out {
			m.Close()
		}
		return nil, err
	}
	return out, nil
}

func descriptors(oob []byte) (fds []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range msgs {
		some, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return nil, err
		}
		fds = append(fds, some...)
	}
	return fds, nil
}
