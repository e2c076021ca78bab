package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Feature is one thing that the kernel or its set-up must, or should, provide.
type Feature struct {
	Name     string
	Have     bool
	Required bool   // without it Open fails; otherwise something is weaker
	Need     string // Linux version that has it, or the setting
	Why      string // what it is for, or what is weaker without it
	Err      error  // what was answered when it was tried; nil if Have
}

// Probe tries each feature on the running kernel. It needs root and changes nothing.
func Probe() []Feature {
	list := []struct {
		Feature
		try func() error
	}{
		{Feature{Name: "eBPF permitted", Required: true, Need: "root, or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN", Why: "load programs"},
			func() error { return features.HaveProgramType(ebpf.SchedCLS) }},
		{Feature{Name: "bpffs", Required: true, Need: "4.4, CONFIG_BPF_SYSCALL", Why: "pin programs, so that capture outlives the agent"}, haveBPFFS},
		{Feature{Name: "tcx", Required: true, Need: "6.6", Why: "guard pods on the host's end of their veth"}, haveTCX},
		{Feature{Name: "sk_lookup", Required: true, Need: "5.9", Why: "hand connections to ztunnel with their addresses kept"},
			func() error { return features.HaveProgramHelper(ebpf.SkLookup, asm.FnSkAssign) }},
		{Feature{Name: "sk_lookup ingress_ifindex", Required: true, Need: "5.17", Why: "tell outbound from inbound connections"}, haveIngressIfindex},
		{Feature{Name: "sockmap", Required: true, Need: "4.14", Why: "hold ztunnel's listeners"},
			func() error { return features.HaveMapType(ebpf.SockMap) }},
		{Feature{Name: "map of maps", Required: true, Need: "4.12", Why: "find a pod's listeners from connect()"},
			func() error { return features.HaveMapType(ebpf.HashOfMaps) }},
		{Feature{Name: "bpf_skb_cgroup_id", Required: true, Need: "4.18, CONFIG_SOCK_CGROUP_DATA", Why: "know ztunnel's packets by its cgroup"},
			func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnSkbCgroupId) }},
		{Feature{Name: "cgroup2", Required: true, Need: "mounted hierarchy", Why: "know ztunnel and kubelet by their cgroups"},
			func() error { _, err := CgroupRoot(); return err }},
		{Feature{Name: "cgroup connect hooks", Required: true, Need: "5.7, CONFIG_CGROUP_BPF", Why: "refuse at once when ztunnel is down"},
			func() error { return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnGetNetnsCookie) }},
		{Feature{Name: "SO_NETNS_COOKIE", Required: true, Need: "5.14", Why: "know a pod by its network namespace"}, haveCookie},
		{Feature{Name: "tcp_fwmark_accept", Required: true, Need: "3.15", Why: "send answers back the way the question came"},
			func() error { _, err := readSysctl("ipv4/tcp_fwmark_accept"); return err }},
		{Feature{Name: "pidfd_getfd", Required: true, Need: "5.6", Why: "take ztunnel's listeners"}, havePidfd},
		{Feature{Name: "sock_diag", Required: true, Need: "3.3, CONFIG_INET_DIAG, CONFIG_INET_UDP_DIAG", Why: "find ztunnel's listeners"}, haveDiag},
		{Feature{Name: "bpf_set_retval", Need: "5.18", Why: "otherwise connect() says \"operation not permitted\", not \"refused\", when ztunnel is down"},
			func() error { return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) }},
	}
	out := make([]Feature, len(list))
	for i, f := range list {
		f.Err = f.try()
		f.Have = f.Err == nil
		out[i] = f.Feature
	}
	return out
}

// Lacking is nil when everything required is there; otherwise it names what is
// missing, from which kernel on it would be, and why it is needed.
func Lacking(fs []Feature) error {
	var lines []string
	for _, f := range fs {
		if f.Required && !f.Have {
			lines = append(lines, fmt.Sprintf("%s (%s; to %s: %v)", f.Name, need(f.Need), f.Why, f.Err))
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("%w: this kernel (%s) lacks %s", ErrKernel, release(), strings.Join(lines, ", "))
}

func need(s string) string {
	if s[0] >= '0' && s[0] <= '9' {
		return "Linux " + s
	}
	return s
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// adapt tells the node's programs what the kernel has.
func adapt(spec *ebpf.CollectionSpec) error {
	for name, have := range map[string]bool{nodeVarHaveRetval: haveRetval(), nodeVarHaveMptcp: haveMPTCP()} {
		if !have {
			continue
		}
		if err := spec.Variables[name].Set(uint32(1)); err != nil {
			return err
		}
	}
	return nil
}

// haveMPTCP: without it getpeername() of an MPTCP socket that talks directly to a service tells the endpoint.
func haveMPTCP() bool {
	return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSkcToMptcpSock) == nil
}

// haveRetval: without it a refused connect() says EPERM.
func haveRetval() bool {
	return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) == nil
}

func haveBPFFS() error {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "bpf" {
			return nil
		}
	}
	return errors.New("the kernel does not list the file system")
}

func haveTCX() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		return err
	}
	defer p.Close()
	// In a namespace of its own, which ends with this goroutine's thread.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: p, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			err = l.Close()
		}
		done <- err
	}()
	return <-done
}

func haveIngressIfindex() error {
	const offset = 64 // of ingress_ifindex in struct bpf_sk_lookup
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, offset, asm.Word),
			asm.Mov.Imm(asm.R0, 1), asm.Return(),
		}})
	if err != nil {
		return err
	}
	return p.Close()
}

func haveCookie() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

func havePidfd() error {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func haveDiag() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
