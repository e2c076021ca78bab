package lab

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// volume makes a volume of the pod as a directory and returns its path. The lab knows emptyDir, hostPath,
// and projected or plain tokens and root certificates of the mesh.
func (r *podRuntime) volume(podDir, name string) (string, error) {
	for i := range r.pod.Spec.Volumes {
		v := &r.pod.Spec.Volumes[i]
		if v.Name != name {
			continue
		}
		dir := filepath.Join(podDir, "volumes", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", fmt.Errorf("volume %s: %w", name, err)
		}
		switch {
		case v.EmptyDir != nil:
			return dir, nil
		case v.HostPath != nil:
			return v.HostPath.Path, nil
		case v.ConfigMap != nil:
			return dir, r.writeConfigMap(dir, v.ConfigMap.Name)
		case v.Projected != nil:
			return dir, r.project(dir, v.Projected.Sources)
		}
		return "", fmt.Errorf("volume %s: the lab knows emptyDir, hostPath, configMap and projected volumes only", name)
	}
	return "", fmt.Errorf("volumeMounts names volume %q, which the pod does not have", name)
}

func (r *podRuntime) project(dir string, sources []corev1.VolumeProjection) error {
	for _, s := range sources {
		var err error
		switch {
		case s.ServiceAccountToken != nil:
			err = r.writeToken(filepath.Join(dir, s.ServiceAccountToken.Path), s.ServiceAccountToken.Audience)
		case s.ConfigMap != nil:
			err = r.writeConfigMap(dir, s.ConfigMap.Name)
		case s.DownwardAPI != nil:
			for _, item := range s.DownwardAPI.Items {
				if item.FieldRef != nil && err == nil {
					err = writeFile(filepath.Join(dir, item.Path), []byte(r.field(item.FieldRef.FieldPath)))
				}
			}
		default:
			err = fmt.Errorf("the lab projects service account tokens, config maps and the downward API only")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
