package kubetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// Apply applies YAML documents by server-side apply as a person would, with their status if they have one.
func (s *Server) Apply(yamls ...string) {
	s.t.Helper()
	for _, u := range s.parse(yamls) {
		opts := metav1.ApplyOptions{FieldManager: "kubetest", Force: true}
		c := s.resource(u)
		if _, err := c.Apply(context.Background(), u.GetName(), u, opts); err != nil {
			s.t.Fatalf("apply %s %s/%s: %v", u.GetKind(), u.GetNamespace(), u.GetName(), err)
		}
		if u.Object["status"] != nil && u.GetKind() != "CustomResourceDefinition" {
			if _, err := c.ApplyStatus(context.Background(), u.GetName(), u, opts); err != nil {
				s.t.Fatalf("apply status of %s %s/%s: %v", u.GetKind(), u.GetNamespace(), u.GetName(), err)
			}
		}
	}
}

// Delete removes what the documents name.
func (s *Server) Delete(yamls ...string) {
	s.t.Helper()
	zero := int64(0)
	for _, u := range s.parse(yamls) {
		if err := s.resource(u).Delete(context.Background(), u.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			s.t.Fatalf("delete %s %s/%s: %v", u.GetKind(), u.GetNamespace(), u.GetName(), err)
		}
	}
}

// Get reads what a document names; nil when it is not there.
func (s *Server) Get(doc string) *unstructured.Unstructured {
	s.t.Helper()
	u := s.parse([]string{doc})[0]
	got, err := s.resource(u).Get(context.Background(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return got
}

// InstallGatewayAPI installs the resources of a channel (standard or experimental) of the module that
// go.mod names; InstallCRDs those of other files.
func (s *Server) InstallGatewayAPI(channel string) {
	s.t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		s.t.Fatalf("find the module of Gateway API: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "config/crd", channel, "gateway.networking.k8s.io_*.yaml"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no resources of Gateway API in %s: %v", out, err)
	}
	s.InstallCRDs(files...)
}

// InstallCRDs applies files with resource definitions and waits until they are served.
func (s *Server) InstallCRDs(files ...string) {
	s.t.Helper()
	slices.Sort(files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		s.Apply(string(data))
		for _, u := range s.parse([]string{string(data)}) {
			if u.GetKind() == "CustomResourceDefinition" {
				s.established(u)
			}
		}
	}
}

func (s *Server) established(u *unstructured.Unstructured) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, err := s.resource(u).Get(context.Background(), u.GetName(), metav1.GetOptions{})
		if err == nil {
			conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
			if slices.ContainsFunc(conditions, func(c any) bool {
				m, _ := c.(map[string]any)
				return m["type"] == "Established" && m["status"] == "True"
			}) {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s is not established: %v", u.GetName(), err)
		}
	}
}

func (s *Server) parse(docs []string) []*unstructured.Unstructured {
	s.t.Helper()
	var out []*unstructured.Unstructured
	for _, doc := range docs {
		for d := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(doc), 4096); ; {
			u := &unstructured.Unstructured{}
			if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				s.t.Fatalf("parse: %v\n%s", err, doc)
			}
			if len(u.Object) > 0 {
				out = append(out, u)
			}
		}
	}
	return out
}

// resource finds where an object belongs, as the server says.
func (s *Server) resource(u *unstructured.Unstructured) dynamic.ResourceInterface {
	s.t.Helper()
	gvk := u.GroupVersionKind()
	d, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		s.t.Fatal(err)
	}
	var mapping *meta.RESTMapping
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		mapping, err = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d)).RESTMapping(gvk.GroupKind(), gvk.Version)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %v", gvk, err)
		}
	}
	c, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		s.t.Fatal(err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Resource(mapping.Resource)
	}
	return c.Resource(mapping.Resource).Namespace(u.GetNamespace())
}
