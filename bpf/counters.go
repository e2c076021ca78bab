package bpf

import "fmt"

// Counter names what became of a connection or packet.
type Counter uint32

// Redirected, Passed and Refused count connections (a repeated SYN again) and
// DNS datagrams; Sent and Dropped count packets coming out of the pod's veth,
// DroppedSpoofed and DroppedForged… those going in.
const (
	RedirectedOutbound   = Counter(podCounterREDIRECTED_OUTBOUND)
	RedirectedInbound    = Counter(podCounterREDIRECTED_INBOUND)
	RedirectedHBONE      = Counter(podCounterREDIRECTED_HBONE)
	RedirectedDNS        = Counter(podCounterREDIRECTED_DNS)
	PassedProbe          = Counter(podCounterPASSED_PROBE)
	PassedLocal          = Counter(podCounterPASSED_LOCAL)
	RefusedNoListener    = Counter(podCounterREFUSED_NO_LISTENER)
	RefusedConnect       = Counter(podCounterREFUSED_CONNECT)
	RefusedReservedPort  = Counter(podCounterREFUSED_RESERVED_PORT)
	RefusedAssign        = Counter(podCounterREFUSED_ASSIGN)
	SentZtunnel          = Counter(podCounterSENT_ZTUNNEL)
	SentProbeReply       = Counter(podCounterSENT_PROBE_REPLY)
	SentKernel           = Counter(podCounterSENT_KERNEL)
	SentNotTCP           = Counter(podCounterSENT_NOT_TCP)
	DroppedNotZtunnel    = Counter(podCounterDROPPED_NOT_ZTUNNEL)
	DroppedForeignSource = Counter(podCounterDROPPED_FOREIGN_SOURCE)
	DroppedMalformed     = Counter(podCounterDROPPED_MALFORMED)
	DroppedFragment      = Counter(podCounterDROPPED_FRAGMENT)
	DroppedTunnel        = Counter(podCounterDROPPED_TUNNEL)
	DroppedExtension     = Counter(podCounterDROPPED_EXTENSION)
	DroppedLink          = Counter(podCounterDROPPED_LINK)
	DroppedSpoofed       = Counter(podCounterDROPPED_SPOOFED)
	DroppedForgedProbe   = Counter(podCounterDROPPED_FORGED_PROBE)
	PassedDirect         = Counter(podCounterPASSED_DIRECT)
	SentDirect           = Counter(podCounterSENT_DIRECT)
	DroppedForgedDirect  = Counter(podCounterDROPPED_FORGED_DIRECT)

	NumCounters = int(podCounterDROPPED_FORGED_DIRECT) + 1

	counterRoom = uint32(podCounterCOUNTERS) // counters that each pod has room for
)

var counterNames = [NumCounters][2]string{
	RedirectedOutbound:   {"redirected", "outbound"},
	RedirectedInbound:    {"redirected", "inbound_plaintext"},
	RedirectedHBONE:      {"redirected", "hbone"},
	RedirectedDNS:        {"redirected", "dns"},
	PassedProbe:          {"passed", "kubelet_probe"},
	PassedLocal:          {"passed", "local"},
	RefusedNoListener:    {"refused", "no_listener"},
	RefusedConnect:       {"refused", "connect_without_listener"},
	RefusedReservedPort:  {"refused", "reserved_port"},
	RefusedAssign:        {"refused", "assign_failed"},
	SentZtunnel:          {"sent", "ztunnel"},
	SentProbeReply:       {"sent", "probe_reply"},
	SentKernel:           {"sent", "kernel"},
	SentNotTCP:           {"sent", "not_tcp"},
	DroppedNotZtunnel:    {"dropped", "not_ztunnel"},
	DroppedForeignSource: {"dropped", "foreign_source"},
	DroppedMalformed:     {"dropped", "malformed"},
	DroppedFragment:      {"dropped", "fragment"},
	DroppedTunnel:        {"dropped", "tunnel"},
	DroppedExtension:     {"dropped", "ipv6_extension"},
	DroppedLink:          {"dropped", "link"},
	DroppedSpoofed:       {"dropped", "spoofed_inbound"},
	DroppedForgedProbe:   {"dropped", "forged_probe"},
	PassedDirect:         {"passed", "same_node"},
	SentDirect:           {"sent", "same_node"},
	DroppedForgedDirect:  {"dropped", "forged_same_node"},
}

// Action is the first half of the name: redirected, passed, refused, sent or dropped.
func (c Counter) Action() string { return counterNames[c][0] }

// Reason is the second half.
func (c Counter) Reason() string { return counterNames[c][1] }

func (c Counter) String() string { return c.Action() + "_" + c.Reason() }

// CounterSet holds one value for each Counter.
type CounterSet [NumCounters]uint64

// Counts are the counters of the node.
type Counts struct {
	Total CounterSet            // all pods since the root was first made, gone ones included
	Pods  map[string]CounterSet // enrolled pods by UID, since their enrolment
}

// Counters reads the counters.
func (r *Redirector) Counters() (Counts, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := Counts{Pods: make(map[string]CounterSet, len(r.pods))}
	gone, err := r.read(0)
	if err != nil {
		return c, err
	}
	c.Total = gone
	for uid, p := range r.pods {
		s, err := r.read(p.Slot)
		if err != nil {
			return c, err
		}
		c.Pods[uid] = s
		for i, v := range s {
			c.Total[i] += v
		}
	}
	return c, nil
}

func (r *Redirector) read(slot uint32) (s CounterSet, err error) {
	var perCPU []uint64
	for i := range s {
		if err := r.node.Counters.Lookup(slot*counterRoom+uint32(i), &perCPU); err != nil {
			return s, fmt.Errorf("read counters: %w", err)
		}
		for _, v := range perCPU {
			s[i] += v
		}
	}
	return s, nil
}

// retire adds a slot's values to those of pods gone, and clears it.
func (r *Redirector) retire(slot uint32) error {
	var mine, sum []uint64
	for i := range NumCounters {
		from, to := slot*counterRoom+uint32(i), uint32(i)
		if err := r.node.Counters.Lookup(from, &mine); err != nil {
			return fmt.Errorf("retire counters: %w", err)
		}
		if err := r.node.Counters.Lookup(to, &sum); err != nil {
			return fmt.Errorf("retire counters: %w", err)
		}
		for cpu := range sum {
			sum[cpu] += mine[cpu]
			mine[cpu] = 0
		}
		if err := r.node.Counters.Put(to, sum); err != nil {
			return fmt.Errorf("retire counters: %w", err)
		}
		if err := r.node.Counters.Put(from, mine); err != nil {
			return fmt.Errorf("retire counters: %w", err)
		}
	}
	return nil
}
