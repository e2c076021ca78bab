package enroll

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestProbePorts(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		want []uint16
	}{
		"none": {"containers: [{name: a, ports: [{containerPort: 80}]}]", nil},
		"all kinds": {`
containers:
- name: a
  startupProbe: {exec: {command: [ls]}}
  readinessProbe: {httpGet: {port: 8080}}
  livenessProbe: {tcpSocket: {port: 7070}}
- name: b
  livenessProbe: {grpc: {port: 9090}}
  readinessProbe: {httpGet: {port: 8080}}
  lifecycle: {postStart: {httpGet: {port: 81}}, preStop: {tcpSocket: {port: 82}}}
initContainers:
- name: c
  restartPolicy: Always
  startupProbe: {httpGet: {port: 83}}
`, []uint16{81, 82, 83, 7070, 8080, 9090}},
		"names are the container's own": {`
containers:
- name: a
  ports: [{name: web, containerPort: 8080}]
  readinessProbe: {httpGet: {port: web}}
- name: b
  ports: [{name: web, containerPort: 9999}]
  livenessProbe: {tcpSocket: {port: nobody}}
`, []uint16{8080}},
		"another host":          {"containers: [{name: a, readinessProbe: {httpGet: {port: 8080, host: 10.1.2.3}}}]", nil},
		"out of range":          {"containers: [{name: a, readinessProbe: {tcpSocket: {port: 70000}}}]", nil},
		"lifecycle of commands": {"containers: [{name: a, lifecycle: {preStop: {sleep: {seconds: 1}}}}]", nil},
	} {
		var p corev1.Pod
		if err := yaml.Unmarshal([]byte(c.spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		if got := podOf(&p).ProbePorts; !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
