package hbone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// dialError wraps what Dial said and names the likely cause.
func dialError(err error) error {
	hint := "see the error"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "nobody listens there: is the mesh's proxy on the destination's node up, and is the pod enrolled?"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("%w: %w: %w (maybe a NetworkPolicy or a firewall drops TCP port 15008)", ErrDial, ErrTimeout, err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		hint = "no route: is the pod gone, or its node?"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "no source port is free, or the source address is not this pod's"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		hint = "the proxy has used up its file descriptors: raise the limit"
	}
	return fmt.Errorf("%w: %w (%s)", ErrDial, err, hint)
}
