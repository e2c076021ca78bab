package model

// Changes says what of a snapshot differs from the one before: workloads, pending ones among them, and their
// Bindings. All else is the same. A nil *Changes says nothing: anything may differ.
type Changes struct {
	// Since is the snapshot before. Who has another one compares everything.
	Since *Snapshot
	// Workloads are the uids of those that are new, different or gone.
	Workloads []string
}

// Join is what two changes come to, one after the other; nil where that cannot be told.
func (c *Changes) Join(next *Changes) *Changes {
	if c == nil || next == nil {
		return nil
	}
	return &Changes{Since: c.Since, Workloads: append(c.Workloads[:len(c.Workloads):len(c.Workloads)], next.Workloads...)}
}

// From reports whether c says what differs from a snapshot.
func (c *Changes) From(s *Snapshot) bool { return c != nil && c.Since != nil && c.Since == s }
