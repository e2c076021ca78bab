package plugin

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/weftmesh/weft/pkg/cni"
)

// Conf is our entry in the node's CNI configuration. All fields but the type are optional.
type Conf struct {
	Type string `json:"type"`
	// Socket of the agent, as the node sees it; the State file and our log lie beside it. Empty: cni.DefaultSocket.
	Socket string `json:"socket,omitempty"`
	// Pins is the folder of the node's pinned eBPF maps. Before an address is given to a pod, and before it is given
	// back, whoever had it is taken off the direct path there. Empty: nothing is.
	Pins string `json:"pins,omitempty"`
	// Timeout in seconds of one ADD, the attempts included. 0: 30.
	Timeout int `json:"timeoutSeconds,omitempty"`
	// Exempt namespaces; pods of these are never held. nil: kube-system and weft-system.
	Exempt []string `json:"exempt,omitempty"`
}

// DefaultExempt namespaces hold what a cluster and the mesh itself cannot do without.
var DefaultExempt = []string{"kube-system", "weft-system"}

func (c *Conf) defaults() {
	if c.Socket == "" {
		c.Socket = cni.DefaultSocket
	}
	if c.Timeout <= 0 {
		c.Timeout = 30
	}
	if c.Exempt == nil {
		c.Exempt = DefaultExempt
	}
}

func (c *Conf) timeout() time.Duration { return time.Duration(c.Timeout) * time.Second }

// call is what the runtime has said, understood.
type call struct {
	Conf
	pod   cni.Pod
	took  []netip.Addr    // addresses that the call is about, as far as they are known
	stale error           // why those may still be another pod's for the direct path; nil: they are not
	prev  json.RawMessage // the result of the plugins before us; empty: there is none
}

// parse reads arguments and configuration. The prevResult is read only where want says so: DEL may come without, or
// with one that is broken.
func parse(args *skel.CmdArgs, want bool) (call, error) {
	c := call{pod: cni.Pod{Netns: args.Netns, ContainerID: args.ContainerID, Interface: args.IfName}}
	var in struct {
		Conf
		Prev json.RawMessage `json:"prevResult"`
	}
	err := json.Unmarshal(args.StdinData, &in)
	c.Conf = in.Conf
	c.defaults()
	if err != nil {
		return c, types.NewError(types.ErrDecodingFailure, "weft: the configuration of "+cni.PluginName+" cannot be read", err.Error())
	}
	c.arguments(args.Args)
	if c.prev = in.Prev; string(c.prev) == "null" {
		c.prev = nil
	}
	if !want {
		if c.prev != nil { // some runtimes tell, and the next owner's ADD does in any case
			c.took, _ = addresses(args)
		}
		return c, nil
	}
	if len(c.prev) == 0 {
		return c, types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("weft: %s got no result of a plugin before it: it has to be chained behind the plugin that makes the pod's network", cni.PluginName),
			"see the order of \"plugins\" in the node's CNI configuration")
	}
	if c.pod.Addresses, err = addresses(args); err != nil {
		return c, types.NewError(types.ErrDecodingFailure, "weft: the result of the plugin before "+cni.PluginName+" cannot be read", err.Error())
	}
	c.took = c.pod.Addresses
	return c, nil
}

// arguments reads what Kubernetes runtimes say of the pod: K1=V1;K2=V2.
func (c *call) arguments(s string) {
	for kv := range strings.SplitSeq(s, ";") {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "K8S_POD_NAMESPACE":
			c.pod.Namespace = v
		case "K8S_POD_NAME":
			c.pod.Name = v
		case "K8S_POD_UID":
			c.pod.UID = v
		}
	}
}

// addresses are those of the interface that the call is about, or of no named one.
func addresses(args *skel.CmdArgs) ([]netip.Addr, error) {
	var conf types.PluginConf
	if err := json.Unmarshal(args.StdinData, &conf); err != nil {
		return nil, err
	}
	if err := cniversion.ParsePrevResult(&conf); err != nil {
		return nil, err
	}
	r, err := types100.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, ip := range r.IPs {
		if i := ip.Interface; i != nil {
			if *i < 0 || *i >= len(r.Interfaces) {
				return nil, fmt.Errorf("address %s is of interface %d of %d", ip.Address.String(), *i, len(r.Interfaces))
			}
			if f := r.Interfaces[*i]; f.Name != args.IfName || f.Sandbox == "" {
				continue
			}
		}
		if a, ok := addr(ip.Address); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

func addr(n net.IPNet) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	return a.Unmap(), ok
}
