package model

// Snapshot is the whole mesh at one moment, compiled from the objects. It is built aside, published by
// one pointer swap and never changed afterwards. Maps are keyed by the values' Key() or UID.
type Snapshot struct {
	TrustDomain   string
	ClusterDomain string
	Workloads     Table[*Workload] // by Workload.UID
	// Pending are pods that are scheduled to a node and have no address yet, by uid. Nobody is told of them;
	// their node may have their identity already, so that they need not wait for it when they start.
	Pending  Table[*Workload]
	Services map[string]*Service
	Policies map[string]*Policy // for ztunnels
	// Ranges are what the cluster gives its pods and Services addresses of.
	Ranges     map[string]*Range
	Waypoints  map[string]*Waypoint
	Routes     map[string]*Route // by Route.Key()+"@"+Service for routes with several parents
	L7Policies map[string]*L7Policy
	Faults     map[string]*Fault
	// Attachments are the policies of all further kinds at their targets, by Attachment.Key(). No two of one
	// kind that exclude each other have the same target.
	Attachments map[string]*Attachment
	// Bindings are the keys in L7Policies of what binds the workloads that waypoints call: by Workload.UID,
	// and by Service.Key() what binds every workload that the service's selector could take, so that the
	// first one meets its policies. The lists are sorted and may be shared.
	Bindings Table[[]string]
}

// NewSnapshot returns an empty snapshot with every map made.
func NewSnapshot() *Snapshot {
	return &Snapshot{
		Services: map[string]*Service{}, Policies: map[string]*Policy{},
		Waypoints: map[string]*Waypoint{}, Routes: map[string]*Route{}, L7Policies: map[string]*L7Policy{}, Faults: map[string]*Fault{},
		Ranges: map[string]*Range{}, Attachments: map[string]*Attachment{},
	}
}
