package main

import "sync"

// sandboxes remembers which sandbox a pod has: runtimes take a former one away again when a new one runs.
type sandboxes struct {
	mu   sync.Mutex        // protects what follows
	pods map[string]string // container ID → UID
	last map[string]string // UID → container ID
}

// made says that a pod has a new sandbox.
func (s *sandboxes) made(uid, container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods == nil {
		s.pods, s.last = map[string]string{}, map[string]string{}
	}
	delete(s.pods, s.last[uid])
	s.pods[container], s.last[uid] = uid, container
}

// gone says that a sandbox was taken away; ok, if it was its pod's last.
func (s *sandboxes) gone(container string) (uid string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uid, ok = s.pods[container]; ok {
		delete(s.pods, container)
		delete(s.last, uid)
	}
	return uid, ok
}
