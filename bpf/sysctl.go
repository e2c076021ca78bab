package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// reservedPorts are kept from being drawn as source ports inside the pod.
const reservedPorts = "15001,15006,15008,15053"

const sysctlRoot = "/proc/sys/net"

// wanted lists what the pod's namespace needs, in the order of setting.
func (p *pod) wanted() [][2]string {
	w := [][2]string{
		{"ipv4/tcp_fwmark_accept", "1"}, // accepted connections answer the way they came
		{"ipv4/fwmark_reflect", "1"},    // so do the kernel's RSTs
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/" + p.Device + "/rp_filter", "0"},
		{"ipv4/ip_local_reserved_ports", reservedPorts},
	}
	if p.IP6.IsValid() {
		w = append(w, [2]string{"ipv6/fwmark_reflect", "1"})
	}
	return w
}

// setSysctls remembers the former values, in the pinned record too, before it
// changes the first.
func (r *Redirector) setSysctls(p *pod) error {
	return p.ns.Do(func() error {
		changes := [][2]string{}
		if p.Sysctls == nil {
			p.Sysctls = map[string]string{}
		}
		for _, w := range p.wanted() {
			was, err := readSysctl(w[0])
			if err != nil {
				return err
			}
			want := w[1]
			if strings.HasSuffix(w[0], "_ports") {
				want = joinPorts(was, want)
			}
			if was == want {
				continue
			}
			if _, known := p.Sysctls[w[0]]; !known {
				p.Sysctls[w[0]] = was
			}
			changes = append(changes, [2]string{w[0], want})
		}
		if err := r.state.put(&p.record); err != nil {
			return err
		}
		for _, c := range changes {
			if err := writeSysctl(c[0], c[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *pod) restoreSysctls() error {
	return p.ns.Do(func() error {
		var errs []error
		for name, was := range p.Sysctls {
			if err := writeSysctl(name, was); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// joinPorts adds our ports to the list that is there, unless it has them.
func joinPorts(was, ours string) string {
	if was == "" || was == ours {
		return ours
	}
	have := map[string]bool{}
	for _, e := range strings.Split(was, ",") {
		have[e] = true
	}
	for _, e := range strings.Split(ours, ",") {
		if !have[e] {
			was += "," + e
		}
	}
	return was
}

// These resolve in the namespace of the calling thread.
func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w (kernel too old, or /proc/sys not mounted?)", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSysctl(name, value string) error {
	f, err := os.OpenFile(filepath.Join(sysctlRoot, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl: %w (is /proc/sys writable?)", err)
	}
	defer f.Close()
	// The newline makes an empty list a value too.
	if _, err := f.WriteString(value + "\n"); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}
