package api

// LoadBalancing is how an endpoint is chosen.
//
// +kubebuilder:validation:XValidation:rule="has(self.hashOn) == (has(self.algorithm) && self.algorithm in ['RingHash', 'Maglev'])",fieldPath=".hashOn",message="RingHash and Maglev choose by a hash, and nothing else does: give hashOn with one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.slowStart) || !has(self.algorithm) || self.algorithm in ['RoundRobin', 'LeastRequest', 'LeastConnections']",fieldPath=".slowStart",message="there is no slow start with this algorithm: write RoundRobin, LeastRequest or LeastConnections, or leave slowStart out"
type LoadBalancing struct {
	// Algorithm. Default LeastRequest. A waypoint knows all of them; between ztunnels RoundRobin, Random and LeastConnections act.
	Algorithm Algorithm `json:"algorithm,omitempty"`
	// HashOn is what RingHash and Maglev look at: equal requests go to one endpoint as long as it is there.
	HashOn *HashOn `json:"hashOn,omitempty"`
	// SlowStart sends less to endpoints that have just come.
	SlowStart *SlowStart `json:"slowStart,omitempty"`
	// PanicThreshold is the percentage of ready endpoints below which all are used, ready or not. Default 0: never.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="not a percentage: write 0 to 100"
	PanicThreshold *int32 `json:"panicThreshold,omitempty"`
}

// Algorithm chooses an endpoint.
//
// +kubebuilder:validation:Enum=RoundRobin;LeastRequest;LeastConnections;Random;RingHash;Maglev
type Algorithm string

// Algorithms.
const (
	// AlgorithmRoundRobin takes them in turn.
	AlgorithmRoundRobin Algorithm = "RoundRobin"
	// AlgorithmLeastRequest takes the less busy of two random ones.
	AlgorithmLeastRequest Algorithm = "LeastRequest"
	// AlgorithmLeastConnections is LeastRequest where connections are what is counted.
	AlgorithmLeastConnections Algorithm = "LeastConnections"
	AlgorithmRandom           Algorithm = "Random"
	AlgorithmRingHash         Algorithm = "RingHash"
	AlgorithmMaglev           Algorithm = "Maglev"
)

// HashOn is the one thing that a hash is made of.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.cookie), has(self.queryParameter), has(self.source)].filter(x, x).size() == 1",message="a hash is made of one thing: write one of header, cookie, queryParameter and source"
type HashOn struct {
	// Header of the request, by name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-]+$')",message="not the name of a header: write e.g. x-user"
	Header string `json:"header,omitempty"`
	// Cookie of the request; a caller without it is given one.
	Cookie *HashCookie `json:"cookie,omitempty"`
	// QueryParameter of the request, by name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	QueryParameter string `json:"queryParameter,omitempty"`
	// Source is the caller: its IP address, or its Identity, that all pods of a service account share.
	Source HashSource `json:"source,omitempty"`
}

// HashSource is what of a caller is hashed.
//
// +kubebuilder:validation:Enum=IP;Identity
type HashSource string

// Sources of a hash.
const (
	HashSourceIP       HashSource = "IP"
	HashSourceIdentity HashSource = "Identity"
)

// HashCookie is a cookie that sticks a caller to an endpoint.
type HashCookie struct {
	// Name of the cookie.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_.-]+$')",message="not the name of a cookie: write e.g. session"
	Name string `json:"name"`
	// TTL of the cookie that a caller without one is given. Default 0s: until the browser is closed.
	TTL *Duration `json:"ttl,omitempty"`
	// Path of the cookie that a caller without one is given. Default /.
	//
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="a path begins with /"
	Path string `json:"path,omitempty"`
}

// SlowStart raises a new endpoint's share over a while.
type SlowStart struct {
	// Window is how long it takes to the full share.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 30s"
	Window Duration `json:"window"`
	// Aggression is how early the share rises: 1, the default, is evenly; more is earlier.
	//
	// +kubebuilder:validation:XValidation:rule="self > 0.0 && self <= 10.0",message="not an aggression: write more than 0, at most 10"
	Aggression *float64 `json:"aggression,omitempty"`
	// MinWeightPercent is the share that an endpoint begins with. Default 10.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="not a share to begin with: write 1 to 100"
	MinWeightPercent *int32 `json:"minWeightPercent,omitempty"`
}

// Locality is which endpoints are chosen from first. Of the nearest ones only so much is taken as are
// ready: when fewer than seven in ten are, the rest of their share goes to the next ones.
//
// +kubebuilder:validation:XValidation:rule="has(self.prefer) || has(self.failover) || has(self.distribute)",message="it says nothing: write prefer, failover or distribute"
// +kubebuilder:validation:XValidation:rule="!has(self.distribute) || !has(self.prefer) && !has(self.failover)",fieldPath=".distribute",message="distribute divides among zones, prefer and failover order them: leave one or the other out"
type Locality struct {
	// Prefer endpoints that share these with the caller's side, the first before the second and so on, e.g.
	// [Region, Zone]: same zone, then same region, then anywhere.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +listType=set
	Prefer []TopologyKey `json:"prefer,omitempty"`
	// Failover orders the zones of endpoints that are equally near otherwise; zones that are not listed come last.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	Failover []string `json:"failover,omitempty"`
	// Distribute divides what comes from a zone among zones, whatever is near.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=from
	Distribute []Distribution `json:"distribute,omitempty"`
}

// TopologyKey is a part of a place.
//
// +kubebuilder:validation:Enum=Network;Region;Zone;Node
type TopologyKey string

// Distribution divides what comes from a zone.
//
// +kubebuilder:validation:XValidation:rule="self.to.map(z, z.percent).sum() == 100",fieldPath=".to",message="the shares do not make a whole: write percentages that add up to 100"
type Distribution struct {
	// From is the zone of the waypoint's pods; "*" is any that has no distribution of its own.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	From string `json:"from"`
	// To are zones and their shares.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=zone
	To []ZoneShare `json:"to"`
}

// ZoneShare is a zone's part.
type ZoneShare struct {
	// Zone by name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Zone string `json:"zone"`
	// Percent of what is divided.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="not a share: write 1 to 100"
	Percent int32 `json:"percent"`
}
