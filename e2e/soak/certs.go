package main

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// certificates is which ones the ztunnels had.
type certificates struct {
	mu      sync.Mutex                 // protects serials
	serials map[string]map[string]bool // by node and identity
}

// readCertificates notes the serial number of each certificate in use, and finds those out of date.
func (s *soak) readCertificates() {
	for _, node := range s.lab.NodeNames() {
		body, err := get(func() (net.Conn, error) { return net.DialTimeout("unix", s.lab.ZtunnelSocket(node), 5*time.Second) }, "/certificates")
		if err != nil {
			continue // it is being restarted; that it comes back is checked by who restarts it
		}
		var list []struct {
			Identity struct{ Namespace, ServiceAccount string }
			State    string
			Serial   string
			NotAfter time.Time
		}
		err = json.NewDecoder(body).Decode(&list)
		body.Close()
		if err != nil {
			s.finds.add("certificates of ztunnel/%s: %v", node, err)
			continue
		}
		for _, c := range list {
			who := fmt.Sprintf("%s/%s on %s", c.Identity.Namespace, c.Identity.ServiceAccount, node)
			if c.Serial != "" && c.NotAfter.Before(time.Now()) {
				s.finds.add("the certificate of %s is out of date", who)
			}
			s.certs.note(who, c.Serial)
		}
	}
}

func (c *certificates) note(who, serial string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serials == nil {
		c.serials = map[string]map[string]bool{}
	}
	if c.serials[who] == nil {
		c.serials[who] = map[string]bool{}
	}
	if serial != "" {
		c.serials[who][serial] = true
	}
}

// judgeCertificates wants every certificate to have been renewed as often as the time was enough for.
func (s *soak) judgeCertificates() map[string]int {
	s.certs.mu.Lock()
	defer s.certs.mu.Unlock()
	counts := map[string]int{}
	// Renewed at half life with jitter: over a whole life, at least once.
	want := 1 + int(s.o.length/s.o.ttl)
	for who, serials := range s.certs.serials {
		counts[who] = len(serials)
		if len(serials) < want {
			s.finds.add("the certificate of %s was one of %d, want at least %d in %s with a lifetime of %s", who, len(serials), want, s.o.length, s.o.ttl)
		}
	}
	if len(counts) == 0 {
		s.finds.add("no ztunnel showed a certificate")
	}
	return counts
}
