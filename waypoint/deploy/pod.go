package deploy

import (
	"path"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

const (
	tokenDir = "/var/run/secrets/weft/token"
	rootDir  = "/var/run/secrets/weft/root"
	// graceSeconds leave room for connections to drain.
	graceSeconds = 30
)

func deployment(gw *gatewayv1.Gateway, o Options) *appsv1.Deployment {
	template := corev1.PodTemplateSpec{Spec: podSpec(gw, o)}
	m := meta(gw)
	template.Labels = m.Labels
	template.Annotations = map[string]string{
		"prometheus.io/scrape": "true",
		"prometheus.io/port":   strconv.Itoa(api.PortMetrics),
		"prometheus.io/path":   "/metrics",
	}
	for k, v := range m.Annotations {
		template.Annotations[k] = v
	}
	one := intstr.FromInt32(1)
	zero := intstr.FromInt32(0)
	return &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: m,
		Spec: appsv1.DeploymentSpec{
			Replicas: replicas(o),
			Selector: &metav1.LabelSelector{MatchLabels: selector(gw)},
			Template: template,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &zero},
			},
		},
	}
}

// replicas is nil where an autoscaler says how many.
func replicas(o Options) *int32 {
	switch {
	case o.Parameters.Autoscaling != nil:
		return nil
	case o.Parameters.Replicas != nil:
		return o.Parameters.Replicas
	}
	return &o.Replicas
}

func podSpec(gw *gatewayv1.Gateway, o Options) corev1.PodSpec {
	no, grace := false, int64(graceSeconds)
	out := corev1.PodSpec{
		ServiceAccountName:            gw.Name,
		AutomountServiceAccountToken:  &no,
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{container(gw, o)},
		NodeSelector:                  o.Parameters.NodeSelector,
		Affinity:                      o.Parameters.Affinity,
		Tolerations:                   o.Parameters.Tolerations,
		PriorityClassName:             o.Parameters.PriorityClassName,
		ImagePullSecrets:              o.Parameters.ImagePullSecrets,
		Volumes:                       []corev1.Volume{{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: "kubernetes.io/hostname", WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: selector(gw)},
		}},
	}
	if o.TokenFile == "" {
		hour := int64(3600)
		out.Volumes = append(out.Volumes, corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: TokenAudience, ExpirationSeconds: &hour, Path: "token"},
			}}},
		}})
	}
	if o.RootFile == "" {
		out.Volumes = append(out.Volumes, corev1.Volume{Name: "root", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: o.RootConfigMap}},
		}})
	}
	return out
}

func container(gw *gatewayv1.Gateway, o Options) corev1.Container {
	token, root := o.TokenFile, o.RootFile
	mounts := []corev1.VolumeMount{{Name: "run", MountPath: o.RunDir}}
	if token == "" {
		token = path.Join(tokenDir, "token")
		mounts = append(mounts, corev1.VolumeMount{Name: "token", MountPath: tokenDir, ReadOnly: true})
	}
	if root == "" {
		root = path.Join(rootDir, "root-cert.pem")
		mounts = append(mounts, corev1.VolumeMount{Name: "root", MountPath: rootDir, ReadOnly: true})
	}
	yes, no, user := true, false, int64(1337)
	return corev1.Container{
		Name:    "waypoint",
		Image:   o.Image,
		Command: command(o),
		Args: append([]string{
			"--gateway=" + gw.Namespace + "/" + gw.Name,
			"--service-account=" + gw.Name,
			"--controller=" + o.Controller,
			"--token-file=" + token,
			"--root-cert=" + root,
			"--trust-domain=" + o.TrustDomain,
			"--run-dir=" + o.RunDir,
		}, o.Args...),
		Env: []corev1.EnvVar{
			fieldEnv("POD_NAME", "metadata.name"), fieldEnv("NODE_NAME", "spec.nodeName"),
		},
		Ports: []corev1.ContainerPort{
			{Name: "hbone", ContainerPort: api.PortHBONE, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: api.PortMetrics, Protocol: corev1.ProtocolTCP},
			{Name: "status", ContainerPort: api.PortReady, Protocol: corev1.ProtocolTCP},
		},
		ReadinessProbe: probe(1, 2), StartupProbe: probe(1, 60),
		Resources:    resources(o),
		VolumeMounts: mounts,
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func resources(o Options) corev1.ResourceRequirements {
	if o.Parameters.Resources != nil {
		return *o.Parameters.Resources
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
	}}
}

func command(o Options) []string {
	if o.Command == "" {
		return nil
	}
	return []string{o.Command}
}

func probe(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(api.PortReady)}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 2,
	}
}

func fieldEnv(name, field string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: field}}}
}
