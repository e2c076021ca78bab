package main

import (
	"bufio"
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/e2e/soak/trend"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/lab"
)

// measure is one series that a program has.
type measure struct {
	name   string
	unit   float64 // samples are divided by it for the reader
	format string
	judged bool
	tol    trend.Tolerance
}

// Measures. A program built with the race detector is judged by what Go took from the system for it, not by
// its resident memory: most of that is the detector's own, which grows with every address and every
// goroutine that it ever saw.
var (
	goroutines = measure{"goroutines", 1, "%.0f", true, trend.Tolerance{Absolute: 12, Relative: 0.10}}
	// liveHeap is what the last garbage collection found alive: half of the size at which the next one is
	// due (GOGC is 100). Programs that keep less than 2 MiB alive show 2.
	liveHeap = measure{"live heap, MiB", 1 << 20, "%.1f", true, trend.Tolerance{Absolute: 1.5 * (1 << 20), Relative: 0.12}}
	fds      = measure{"file descriptors", 1, "%.0f", true, trend.Tolerance{Absolute: 10, Relative: 0.10}}
	// taken is the memory that Go has from the system and has not given back: heap, stacks and its own.
	taken    = measure{"Go's memory, MiB", 1 << 20, "%.0f", true, trend.Tolerance{Absolute: 12 * (1 << 20), Relative: 0.15}}
	resident = measure{"resident, MiB", 1 << 20, "%.0f", true, trend.Tolerance{Absolute: 16 * (1 << 20), Relative: 0.15}}
	// residentRace is resident of a program with the race detector.
	residentRace = measure{"resident, MiB", 1 << 20, "%.0f", false, trend.Tolerance{}}
	inUse        = measure{"TCP sockets", 1, "%.0f", true, trend.Tolerance{Absolute: 16, Relative: 0.15}}
	timeWait     = measure{"TIME_WAIT", 1, "%.0f", false, trend.Tolerance{}}
	udp          = measure{"UDP sockets", 1, "%.0f", true, trend.Tolerance{Absolute: 8, Relative: 0.15}}
)

// series is one measure of one program or place.
type series struct {
	Of      string
	Measure measure
	Points  []trend.Point
}

// samples are all series, in the order in which they first appeared.
type samples struct {
	mu  sync.Mutex // protects all
	all []*series
}

func (s *samples) add(of string, m measure, at, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if one.Of == of && one.Measure.name == m.name {
			one.Points = append(one.Points, trend.Point{At: at, Value: value})
			return
		}
	}
	s.all = append(s.all, &series{Of: of, Measure: m, Points: []trend.Point{{At: at, Value: value}}})
}

// source of a program's figures.
type source struct {
	name string
	pid  int
	// dial reaches its page of metrics; nil: only what /proc says.
	dial func() (net.Conn, error)
}

// takeSamples asks every program of the mesh once. One that does not answer leaves a gap.
func (s *soak) takeSamples() {
	at := time.Since(s.began).Seconds()
	for _, src := range s.sources() {
		s.sampleProcess(at, src)
		if src.dial == nil {
			continue
		}
		values, err := metrics(src.dial, "go_goroutines", "go_memstats_next_gc_bytes", "go_memstats_sys_bytes", "go_memstats_heap_released_bytes")
		if err != nil {
			continue
		}
		s.samples.add(src.name, goroutines, at, values["go_goroutines"])
		s.samples.add(src.name, liveHeap, at, values["go_memstats_next_gc_bytes"]/2)
		s.samples.add(src.name, taken, at, values["go_memstats_sys_bytes"]-values["go_memstats_heap_released_bytes"])
	}
	s.sampleSockets(at)
}

// sources lists the mesh's programs as they run now.
func (s *soak) sources() []source {
	st, err := s.lab.ReadState()
	if err != nil {
		return nil
	}
	unix := func(path string) func() (net.Conn, error) {
		return func() (net.Conn, error) { return net.DialTimeout("unix", path, 5*time.Second) }
	}
	var all []source
	add := func(program, socket string) {
		if p := st.Programs[program]; p != nil && p.Alive() {
			all = append(all, source{program, p.PID, unix(socket)})
		}
	}
	add("controller", s.lab.ControllerSocket())
	for _, n := range s.lab.NodeNames() {
		add("agent/"+n, s.lab.AgentSocket(n))
	}
	for _, n := range s.lab.NodeNames() {
		add("ztunnel/"+n, s.lab.ZtunnelSocket(n))
	}
	return append(all, s.waypoints()...)
}

// waypoints are the launcher and the Envoy of each waypoint's pod.
func (s *soak) waypoints() []source {
	pods, err := s.lab.Pods()
	if err != nil {
		return nil
	}
	var all []source
	for _, p := range pods {
		if p.Labels[api.LabelGatewayName] == "" {
			continue
		}
		processes, _ := lab.Processes(s.lab, p)
		for _, id := range processes {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", id.PID))
			switch name := strings.TrimSpace(string(comm)); {
			case strings.HasPrefix(name, "weft-waypoint"):
				all = append(all, source{"weft-waypoint", id.PID, func() (conn net.Conn, err error) {
					err = lab.InNetNS(s.lab.PodNS(p.Namespace, p.Name), func() error {
						conn, err = net.DialTimeout("tcp", "127.0.0.1:15020", 5*time.Second)
						return err
					})
					return conn, err
				}})
			case strings.HasPrefix(name, "envoy"):
				all = append(all, source{"its envoy", id.PID, nil})
			}
		}
	}
	return all
}

// sampleProcess reads what the kernel says of a process. One that is gone leaves a gap.
func (s *soak) sampleProcess(at float64, src source) {
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", src.pid)); err == nil {
		s.samples.add(src.name, fds, at, float64(len(open)))
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", src.pid))
	if err != nil {
		return
	}
	if f := strings.Fields(string(statm)); len(f) > 1 {
		if pages, err := strconv.ParseFloat(f[1], 64); err == nil {
			m := resident
			if hasRaceDetector(src.pid) {
				m = residentRace
			}
			s.samples.add(src.name, m, at, pages*float64(os.Getpagesize()))
		}
	}
}

// hasRaceDetector reads how a running program was built.
func hasRaceDetector(pid int) bool {
	info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false // not a Go program
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// metrics reads gauges without labels from a page of metrics.
func metrics(dial func() (net.Conn, error), names ...string) (map[string]float64, error) {
	resp, err := get(dial, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(resp)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		for _, want := range names {
			if name == want {
				if values[name], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, fmt.Errorf("metric %s: %w", name, err)
				}
			}
		}
	}
	if len(values) < len(names) {
		return nil, fmt.Errorf("of the metrics %v only %v are there", names, values)
	}
	return values, lines.Err()
}

// get asks a page over a connection of its own. The caller closes the body.
func get(dial func() (net.Conn, error), path string) (io.ReadCloser, error) {
	client := &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() },
	}}
	resp, err := client.Get("http://weft" + path)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return resp.Body, nil
}
