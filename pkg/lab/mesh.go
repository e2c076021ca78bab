package lab

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/weftmesh/weft/pkg/api"
)

// meshBinaries have to be there for a mesh.
var meshBinaries = []string{"weft-controller", "weft-agent", "weft-ztunnel"}

// meshPrograms are the mesh's own: one controller, on each node an agent and a ztunnel, with the flags
// that a Deployment and two DaemonSets would give them.
func (s *supervisor) meshPrograms() []program {
	level := "info"
	if s.Debug {
		level = "debug"
	}
	first := s.NodeNames()[0]
	controllerAddr := net.JoinHostPort(netOf(1).ip4.String(), fmt.Sprint(api.PortXDS))
	all := []program{{
		name: "controller", path: s.bin("weft-controller"), node: first, cgroup: s.Cgroup("control", "controller"),
		args: s.controllerArgs(level),
	}}
	for _, n := range s.NodeNames() {
		token := s.Path(n, "ztunnel-token")
		all = append(all,
			program{
				name: "ztunnel/" + n, path: s.bin("weft-ztunnel"), node: n, cgroup: s.Cgroup(n, "ztunnel"), admin: s.ZtunnelSocket(n),
				before: func() error {
					return mintFile(s.Layout, token, api.SystemNamespace+"/weft-ztunnel", n, "weft-ztunnel-"+n, "")
				},
				args: append([]string{
					"--node", n, "--controller", controllerAddr, "--controller-name", ControllerHost, "--token-file", token, "--root-cert", s.rootCert(),
					"--zds-socket", s.Path(n, "zds.sock"), "--trust-domain", trustDomain, "--cluster-domain", ClusterDomain,
					"--admin-socket", s.ZtunnelSocket(n), "--handover-dir", s.Path(n, "handover"), "--dns-upstream", net.JoinHostPort(DNSAddress.String(), "53"),
					"--log-level", level, "--cert-ttl", s.certTTL(),
				}, s.tunnelTLS()...),
			},
			program{
				name: "agent/" + n, path: s.bin("weft-agent"), node: n, cgroup: s.Cgroup(n, "agent"),
				args: append([]string{
					"--node", n, "--netns-pattern", s.NetNSPattern(), "--bpf-root", s.BPFRoot(),
					"--zds-socket", s.Path(n, "zds.sock"), "--status-dir", s.StatusDir(), "--admin-socket", s.AgentSocket(n),
					"--kubelet-cgroup", s.kubeletCgroup(n), "--log-level", level,
				}, append(s.handOver(), s.sources()...)...),
			})
	}
	return all
}

func (s *supervisor) controllerArgs(level string) []string {
	args := append([]string{
		"--state-dir", s.Dir(), "--deploy-dir", s.deployDir(),
		"--listen", fmt.Sprintf(":%d", api.PortXDS), "--debug-listen", fmt.Sprintf("127.0.0.1:%d", api.PortController),
		"--admin-socket", s.ControllerSocket(), "--trust-domain", trustDomain, "--cluster-domain", ClusterDomain,
		"--ca-dir", s.caDir(), "--token-public-key", s.tokenPublicKey(), "--log-level", level,
	}, s.sources()...)
	return append(args, "--cert-ttl", s.certTTL())
}

func (s *supervisor) tunnelTLS() []string {
	if s.TunnelTLS == "" {
		return nil
	}
	return []string{"--tunnel-tls", s.TunnelTLS}
}

func (s *supervisor) handOver() []string {
	if s.SameNodeHandOver == "" {
		return nil
	}
	return []string{"--same-node-hand-over", s.SameNodeHandOver}
}

func (s *supervisor) certTTL() string {
	if s.CertTTL == 0 {
		return "24h"
	}
	return s.CertTTL.String()
}

// sources are the folders of objects: what people write, what the cluster says, what the mesh deploys.
func (s *supervisor) sources() []string {
	var args []string
	for _, dir := range append(append([]string(nil), s.Manifests...), s.clusterDir(), s.deployDir()) {
		args = append(args, "--source", "dir:"+dir)
	}
	return args
}

func (s *supervisor) kubeletCgroup(node string) string {
	root, err := CgroupRoot()
	if err != nil {
		return ""
	}
	return filepath.Join(root, s.Cgroup(node, "kubelet"))
}
