package cli

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/source"
)

// labView is a lab at one moment, for programs and for the tables.
type labView struct {
	Name       string        `json:"name"`
	Phase      lab.Phase     `json:"phase"`
	Supervisor int           `json:"supervisor"` // its pid; 0 when it is gone
	Manifests  []string      `json:"manifests"`
	Waiting    []string      `json:"waiting,omitempty"` // what is not ready
	Programs   []programView `json:"programs"`
	Pods       []podView     `json:"pods"`
	Services   []serviceView `json:"services"`
	Problems   []problemView `json:"problems"`
	// Unasked is why the controller could not be asked; problems are then those of reading alone.
	Unasked string `json:"unasked,omitempty"`
}

type programView struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"` // 0: it does not run
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
}

type podView struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	IP        string `json:"ip"`
	Ready     bool   `json:"ready"`
	Enrolled  bool   `json:"enrolled"` // its traffic is captured
	Restarts  int32  `json:"restarts"`
}

type serviceView struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address"`
	Ports     string `json:"ports"`
}

func viewLab(ctx context.Context, c *lab.Config) (*labView, error) {
	st, err := c.ReadState()
	if err != nil {
		return nil, err
	}
	pods, err := c.Pods()
	if err != nil {
		return nil, err
	}
	services, err := c.Services()
	if err != nil {
		return nil, err
	}
	v := &labView{Name: c.Name, Phase: st.Phase, Manifests: c.Manifests, Waiting: st.Waiting, Programs: []programView{}, Pods: []podView{}, Services: []serviceView{}}
	if st.Supervisor.Alive() {
		v.Supervisor = st.Supervisor.PID
	}
	for _, n := range st.ProgramNames() {
		p := st.Programs[n]
		view := programView{Name: n, Since: p.Since, Restarts: p.Restarts, LastExit: p.LastExit}
		if p.Alive() {
			view.PID = p.PID
		}
		v.Programs = append(v.Programs, view)
	}
	for _, p := range pods {
		v.Pods = append(v.Pods, podView{p.Namespace, p.Name, p.Spec.NodeName, p.Status.PodIP, lab.PodReady(p), lab.Enrolled(c.Layout, p), restarts(p)})
	}
	for _, s := range services {
		v.Services = append(v.Services, serviceView{s.Namespace, s.Name, s.Spec.ClusterIP, ports(s)})
	}
	v.findProblems(ctx, c, st)
	return v, nil
}

// findProblems asks the controller, which knows more than the lab, and falls back to what the lab read.
func (v *labView) findProblems(ctx context.Context, c *lab.Config, st *lab.State) {
	page := readingProblems(st.Problems)
	if !c.NoMesh {
		var asked []objectStatus
		if err := socketPage(c.ControllerSocket()).json(ctx, "/debug/status", &asked); err != nil {
			v.Unasked = err.Error()
		} else {
			page = asked
		}
	}
	v.Problems = []problemView{}
	for _, s := range page {
		v.Problems = append(v.Problems, s.problems()...)
	}
}

func readingProblems(all []source.Problem) []objectStatus {
	out := make([]objectStatus, len(all))
	for i, p := range all {
		out[i] = objectStatus{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name, File: p.File, Line: p.Line, Problems: []source.Problem{p}}
	}
	return out
}

func restarts(p *corev1.Pod) int32 {
	n := int32(0)
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

func ports(s *corev1.Service) string {
	text := ""
	for i, p := range s.Spec.Ports {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(p.Port)
		if p.Name != "" {
			text += "/" + p.Name
		}
	}
	return text
}
