package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/pkg/lab"
)

// sampleSockets counts the sockets of each node, and of all pods together.
func (s *soak) sampleSockets(at float64) {
	places, err := filepath.Glob("/run/netns/" + s.lab.Prefix() + "*")
	if err != nil {
		return
	}
	pods := sockets{}
	for _, path := range places {
		name := filepath.Base(path)
		var here sockets
		if lab.InNetNS(name, func() (err error) { here, err = countSockets("/proc/thread-self/net"); return err }) != nil {
			continue // a pod that is just going
		}
		node, isNode := strings.CutPrefix(name, s.lab.Prefix())
		if isNode = isNode && !strings.Contains(node, "-"); isNode {
			s.addSockets(at, "node "+node, here)
			continue
		}
		pods = sockets{pods.tcp + here.tcp, pods.timeWait + here.timeWait, pods.udp + here.udp}
	}
	s.addSockets(at, "all pods", pods)
}

func (s *soak) addSockets(at float64, of string, n sockets) {
	s.samples.add(of, inUse, at, n.tcp)
	s.samples.add(of, timeWait, at, n.timeWait)
	s.samples.add(of, udp, at, n.udp)
}

// sockets of a network namespace, IPv4 and IPv6.
type sockets struct{ tcp, timeWait, udp float64 }

func countSockets(proc string) (sockets, error) {
	n := sockets{}
	for _, file := range []string{"sockstat", "sockstat6"} {
		data, err := os.ReadFile(filepath.Join(proc, file))
		if err != nil {
			return n, err
		}
		for line := range strings.Lines(string(data)) {
			what, rest, _ := strings.Cut(line, ":")
			f := strings.Fields(rest)
			for i := 0; i+1 < len(f); i += 2 {
				v, _ := strconv.ParseFloat(f[i+1], 64)
				switch {
				case strings.HasPrefix(what, "TCP") && f[i] == "inuse":
					n.tcp += v
				case strings.HasPrefix(what, "TCP") && f[i] == "tw":
					n.timeWait += v
				case (what == "UDP" || what == "UDP6") && f[i] == "inuse":
					n.udp += v
				}
			}
		}
	}
	return n, nil
}
