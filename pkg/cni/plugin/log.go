package plugin

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/cni"
)

// maxLog is how large the log grows, in bytes, before it becomes <log>.1 in place of the one before.
const maxLog = 256 << 10

// note writes one line of the log. That it cannot be written is nobody's trouble.
func (c *call) note(command string, began time.Time, outcome string, err error) {
	path := cni.LogPath(c.Socket)
	if fi, statErr := os.Stat(path); statErr == nil && fi.Size() > maxLog {
		_ = os.Rename(path, path+".1")
	}
	f, openErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if openErr != nil {
		return
	}
	defer f.Close()
	if err != nil {
		outcome = strings.TrimSpace(outcome + ": " + err.Error())
	}
	now := time.Now()
	fmt.Fprintf(f, "%s %s %s container=%s addresses=%v took=%s %s\n", now.UTC().Format(time.RFC3339Nano), command, c.pod.Key(),
		c.pod.ContainerID, c.pod.Addresses, now.Sub(began).Round(time.Microsecond), strings.ReplaceAll(outcome, "\n", " "))
}
