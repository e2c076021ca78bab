package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// Phase is where a lab is in its life.
type Phase string

// Phases of a lab.
const (
	Starting Phase = "Starting" // programs or pods are not ready yet
	Ready    Phase = "Ready"    // everything was ready once
	Failed   Phase = "Failed"   // it could not be raised; Problem says why
)

// State is what the supervisor writes about the lab for others to read.
type State struct {
	Phase      Phase               `json:"phase"`
	Problem    string              `json:"problem,omitempty"`
	Waiting    []string            `json:"waiting,omitempty"`  // what is not ready yet
	Problems   []source.Problem    `json:"problems,omitempty"` // what is wrong with the manifests
	Supervisor ProcessID           `json:"supervisor"`
	Programs   map[string]*Program `json:"programs"` // by name: controller, ztunnel/n1, …
}

// Program is a process that the supervisor keeps running.
type Program struct {
	ProcessID
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
}

// ReadState reads what the lab's supervisor last wrote.
func (l Layout) ReadState() (*State, error) {
	s := new(State)
	if err := readJSON(l.Path("state.json"), s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return &State{Phase: Starting}, nil
		}
		return nil, fmt.Errorf("lab %s: %w", l.Name, err)
	}
	return s, nil
}

// Pods reads the pods of the lab as its kubelets wrote them, by namespace and name.
func (l Layout) Pods() ([]*corev1.Pod, error) {
	all, err := look(l.podsDir())
	sortByName(all.Pods)
	return all.Pods, err
}

// Services reads the services with their virtual addresses.
func (l Layout) Services() ([]*corev1.Service, error) {
	all, err := look(l.servicesDir())
	sortByName(all.Services)
	return all.Services, err
}

// ProgramNames lists the supervised programs in a fixed order.
func (s *State) ProgramNames() []string {
	names := make([]string, 0, len(s.Programs))
	for n := range s.Programs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// stateFile is the State with its lock and its file.
type stateFile struct {
	path string
	mu   sync.Mutex // protects s
	s    State
}

// change edits the state and writes it out.
func (f *stateFile) change(edit func(*State)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&f.s)
	return writeJSON(f.path, &f.s)
}
