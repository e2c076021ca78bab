package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"text/template"
)

//go:embed config
var configs embed.FS

// values are what the files below config/ are filled with.
type values struct {
	PKI, Dir, Node, IP      string
	PodCIDR, NodeCIDR, DNS  string
	NodeCIDR6               string // empty without IPv6
	ProxyMode               string
	BaseImage, CoreDNSImage string
}

func (c *Cluster) values(n int) values {
	v := values{
		PKI: c.run("pki"), Dir: c.nodeDir(n), Node: nodeName(n), IP: c.nodeIP(n),
		PodCIDR: c.both(c.podCIDR(), c.podCIDR6()), NodeCIDR: c.nodeCIDR(n), DNS: serviceDNS,
		ProxyMode: c.state.ProxyMode, BaseImage: BaseImage, CoreDNSImage: CoreDNSImage,
	}
	if c.dual {
		v.NodeCIDR6 = c.nodeCIDR6(n)
	}
	return v
}

// fill gives one of the files below config/.
func fill(name string, v values) ([]byte, error) {
	t, err := template.ParseFS(configs, "config/"+name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Option("missingkey=error").Execute(&out, v); err != nil {
		return nil, fmt.Errorf("config/%s: %w", name, err)
	}
	return out.Bytes(), nil
}

func fillFile(path, name string, v values) error {
	b, err := fill(name, v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
