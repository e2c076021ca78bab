// Package capture records what crosses an interface and says what it was: clear text with given markers,
// TLS to the tunnel's port, or other TCP. It is the witness of the demo and of tests, so it reads frames
// from the kernel itself (AF_PACKET) and fails rather than overlook: a capture that lost frames is an
// error.
package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// snapLen is longer than the longest frame: virtual links hand over segments of up to 64 KiB.
const snapLen = 1 << 17

// Frame is one captured link-layer frame.
type Frame struct {
	Time time.Time
	Data []byte
}

// Capture is a running capture.
type Capture struct {
	file   *os.File
	mu     sync.Mutex // protects frames and err
	frames []Frame
	err    error
	done   chan struct{}
}

// Start captures on an interface of the calling thread's network namespace.
func Start(ifname string) (*Capture, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", ifname, err)
	}
	proto := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %s (CAP_NET_RAW needed): %w", ifname, err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture on %s: %w", ifname, err)
	}
	c := &Capture{file: os.NewFile(uintptr(fd), "capture:"+ifname), done: make(chan struct{})}
	go c.read()
	return c, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (c *Capture) read() {
	defer close(c.done)
	buf := make([]byte, snapLen)
	for {
		n, err := c.file.Read(buf)
		c.mu.Lock()
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				c.err = err
			}
			c.mu.Unlock()
			return
		}
		c.frames = append(c.frames, Frame{time.Now(), append([]byte(nil), buf[:n]...)})
		c.mu.Unlock()
	}
}

// Stop ends the capture after the frames that are already there, and returns them. It fails when frames
// were lost, for then the capture proves nothing.
func (c *Capture) Stop() ([]Frame, error) {
	// What was sent before this call is in the socket's queue; give the reader time to drain it.
	_ = c.file.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	<-c.done
	defer c.file.Close()
	var lost uint32
	raw, err := c.file.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			st, statErr := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err = statErr; err == nil {
				lost = st.Drops
			}
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, fmt.Errorf("capture: %w", c.err)
	case err != nil:
		return nil, fmt.Errorf("capture: statistics: %w", err)
	case lost > 0:
		return nil, fmt.Errorf("capture: the kernel dropped %d frames, so nothing is proved; try again on a calmer machine", lost)
	}
	return c.frames, nil
}

// WriteFile writes frames as a pcap file for other tools.
func WriteFile(path string, frames []Frame) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	w := pcapgo.NewWriter(f)
	err = w.WriteFileHeader(snapLen, layers.LinkTypeEthernet)
	for _, fr := range frames {
		if err == nil {
			err = w.WritePacket(gopacket.CaptureInfo{Timestamp: fr.Time, CaptureLength: len(fr.Data), Length: len(fr.Data)}, fr.Data)
		}
	}
	return errors.Join(err, f.Close())
}
