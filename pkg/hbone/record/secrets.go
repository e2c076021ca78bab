package record

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// secrets is the KeyLogWriter of one handshake: the one official way in which crypto/tls gives its traffic
// secrets away. It keeps the two that a session needs, in memory, and drops the two of the handshake. Anything
// else that crypto/tls might log one day fails the handshake.
type secrets struct {
	random         []byte // the client's, in hex, which names the handshake
	client, server []byte
}

const (
	handshakeOfClient = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
	handshakeOfServer = "SERVER_HANDSHAKE_TRAFFIC_SECRET"
	trafficOfClient   = "CLIENT_TRAFFIC_SECRET_0"
	trafficOfServer   = "SERVER_TRAFFIC_SECRET_0"
)

// Write takes a line of the form LABEL RANDOM SECRET. Its errors never quote it.
func (s *secrets) Write(line []byte) (int, error) {
	f := bytes.Fields(line)
	if len(f) != 3 {
		return 0, fmt.Errorf("%w: crypto/tls logs keys in an unknown form", ErrTakeover)
	}
	if s.random == nil {
		s.random = bytes.Clone(f[1])
	}
	if !bytes.Equal(s.random, f[1]) {
		return 0, fmt.Errorf("%w: keys of two handshakes", ErrTakeover)
	}
	keep := &s.client
	switch label := string(f[0]); label {
	case handshakeOfClient, handshakeOfServer:
		return len(line), nil
	case trafficOfClient:
	case trafficOfServer:
		keep = &s.server
	default:
		return 0, fmt.Errorf("%w: crypto/tls logs an unknown key, %.40q", ErrTakeover, label)
	}
	if *keep != nil {
		return 0, fmt.Errorf("%w: a key came twice", ErrTakeover)
	}
	secret := make([]byte, hex.DecodedLen(len(f[2])))
	if _, err := hex.Decode(secret, f[2]); err != nil {
		return 0, fmt.Errorf("%w: a key that is not hexadecimal", ErrTakeover)
	}
	*keep = secret
	return len(line), nil
}
