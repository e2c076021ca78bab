package deploy

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// ParametersKey is the key of a ConfigMap, named by a Gateway's spec.infrastructure.parametersRef, under which
// Parameters stand as YAML.
const ParametersKey = "waypoint"

// Parameters are what a person may choose for the pods of one waypoint. Whatever is left out is as without them.
type Parameters struct {
	// Replicas of the Deployment. Default 1. Excludes Autoscaling.
	Replicas *int32 `json:"replicas,omitempty"`
	// Autoscaling makes a HorizontalPodAutoscaler.
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`
	// DisruptionBudget makes a PodDisruptionBudget.
	DisruptionBudget *DisruptionBudget `json:"disruptionBudget,omitempty"`
	// Resources of the container. Default: requests of 100m and 128Mi.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// Where the pods run, and with which priority.
	NodeSelector      map[string]string   `json:"nodeSelector,omitempty"`
	Affinity          *corev1.Affinity    `json:"affinity,omitempty"`
	Tolerations       []corev1.Toleration `json:"tolerations,omitempty"`
	PriorityClassName string              `json:"priorityClassName,omitempty"`
	// ImagePullSecrets are of the Gateway's namespace.
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
}

// Autoscaling by the pods' use of the CPU that they request.
type Autoscaling struct {
	// MinReplicas, default 1, and MaxReplicas, required.
	MinReplicas int32 `json:"minReplicas,omitempty"`
	MaxReplicas int32 `json:"maxReplicas"`
	// TargetCPU is the percentage of the request that is aimed at. Default 80.
	TargetCPU int32 `json:"targetCPU,omitempty"`
}

// DisruptionBudget has exactly one of its fields.
type DisruptionBudget struct {
	MinAvailable   *intstr.IntOrString `json:"minAvailable,omitempty"`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// ParseParameters reads a ConfigMap's content, strictly: a name that is not known is an error.
func ParseParameters(data map[string]string) (*Parameters, error) {
	text, ok := data[ParametersKey]
	if !ok {
		return nil, fmt.Errorf("it has no key %q", ParametersKey)
	}
	p := &Parameters{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		return nil, fmt.Errorf("key %q: %w", ParametersKey, err)
	}
	return p, p.check()
}

func (p *Parameters) check() error {
	if p.Replicas != nil && p.Autoscaling != nil {
		return errors.New("replicas and autoscaling exclude each other")
	}
	if p.Replicas != nil && *p.Replicas < 0 {
		return fmt.Errorf("replicas: %d is less than none", *p.Replicas)
	}
	if a := p.Autoscaling; a != nil {
		switch {
		case a.MaxReplicas < 1:
			return errors.New("autoscaling.maxReplicas: at least 1 is needed")
		case a.MinReplicas < 0 || a.MinReplicas > a.MaxReplicas:
			return fmt.Errorf("autoscaling.minReplicas: %d is not within 1 and maxReplicas", a.MinReplicas)
		case a.TargetCPU < 0:
			return fmt.Errorf("autoscaling.targetCPU: %d is not a percentage", a.TargetCPU)
		}
	}
	if b := p.DisruptionBudget; b != nil && (b.MinAvailable == nil) == (b.MaxUnavailable == nil) {
		return errors.New("disruptionBudget: exactly one of minAvailable and maxUnavailable is needed")
	}
	return nil
}
