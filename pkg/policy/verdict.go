package policy

import (
	"net/netip"

	"github.com/weftmesh/weft/pkg/identity"
)

// Conn is what is known of a connection before it is let through.
type Conn struct {
	Source   identity.Identity // verified by the tunnel's handshake; zero: no identity
	SourceIP netip.Addr        // of the client
	Dest     netip.AddrPort    // address and port of the workload, not of the service
}

// Verdict on a connection.
type Verdict struct {
	Allowed bool
	// Policy that decided, as namespace/name. "" is the default: no policy had anything to say, or
	// several ALLOW policies were asked and none matched (Reason lists them).
	Policy string
	Rule   int    // index of the rule of Policy that matched, -1 if none did
	Reason string // for people: what decided, and what to look at
	// DryRun names the policies in dry run that would have refused this connection.
	DryRun []string
}

// NoRule is Verdict.Rule when no rule matched.
const NoRule = -1

// Missing is the verdict where a workload lists a policy that has not been received: what it says is
// not known, so nothing passes.
func Missing(key string) Verdict {
	return Verdict{Policy: key, Rule: NoRule, Reason: "policy " + key + " not received yet"}
}
