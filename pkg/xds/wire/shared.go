package wire

import (
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// Shared holds what was decoded once, so that workloads that say the same share it: names of namespaces and nodes,
// and which services a pod belongs to, which all pods of a Deployment say alike and which is most of a workload. The
// zero value is ready. It keeps everything it ever saw: drop it when what came together has been decoded.
type Shared struct {
	texts    map[string]string
	services map[string]map[string][]model.Port // by their encoding
	policies map[string][]string                // by their encoding
}

// text is a string of these bytes.
func (s *Shared) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if v, ok := s.texts[string(b)]; ok {
		return v
	}
	if s.texts == nil {
		s.texts = map[string]string{}
	}
	v := string(b)
	s.texts[v] = v
	return v
}

// names are those of a workload and its UID, which usually ends with it: then they share bytes.
func names(uid, name []byte) (string, string) {
	u := string(uid)
	if n := string(name); !strings.HasSuffix(u, n) {
		return u, n
	}
	return u, u[len(u)-len(name):]
}
