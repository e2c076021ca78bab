package deploy

import (
	"cmp"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// autoscaler is nil unless one is asked for.
func autoscaler(gw *gatewayv1.Gateway, p *Parameters) *autoscalingv2.HorizontalPodAutoscaler {
	if p.Autoscaling == nil {
		return nil
	}
	least, target := cmp.Or(p.Autoscaling.MinReplicas, 1), cmp.Or(p.Autoscaling.TargetCPU, 80)
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: meta(gw),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: gw.Name},
			MinReplicas:    &least, MaxReplicas: p.Autoscaling.MaxReplicas,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target},
			}}},
		},
	}
}

// disruptionBudget is nil unless one is asked for.
func disruptionBudget(gw *gatewayv1.Gateway, p *Parameters) *policyv1.PodDisruptionBudget {
	if p.DisruptionBudget == nil {
		return nil
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: meta(gw),
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector:     &metav1.LabelSelector{MatchLabels: selector(gw)},
			MinAvailable: p.DisruptionBudget.MinAvailable, MaxUnavailable: p.DisruptionBudget.MaxUnavailable,
		},
	}
}
