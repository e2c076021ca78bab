package install

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cni"
)

func TestModes(t *testing.T) {
	meta := func(namespace, name, mode string) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: namespace, Name: name}
		if mode != "" {
			m.Labels = map[string]string{api.LabelMode: mode}
		}
		return m
	}
	var namespaces []*corev1.Namespace
	for name, mode := range map[string]string{"shop": api.ModeAmbient, "none": api.ModeNone, "typo": "ambiant", "web": "", "old": ""} {
		namespaces = append(namespaces, &corev1.Namespace{ObjectMeta: meta("", name, mode)})
	}
	pods := []*corev1.Pod{{ObjectMeta: meta("shop", "a", "")}, {ObjectMeta: meta("shop", "b", api.ModeNone)}, {ObjectMeta: meta("web", "a", "")},
		{ObjectMeta: meta("web", "b", api.ModeAmbient)}, {ObjectMeta: meta("not-known", "a", api.ModeAmbient)}}
	want := map[string]cni.Mode{"shop": cni.Enrolled, "none": cni.Plain, "typo": cni.Plain, "web": cni.Mixed, "old": cni.Plain}
	if got := Modes(namespaces, pods); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
