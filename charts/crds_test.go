package charts_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// refused: what an API server refuses by the schemas of our kinds, it refuses with the message of the table, and the
// folder source refuses the same.
func refused(t *testing.T, server *apiServer) {
	for _, doc := range documents(t, "testdata/refused.yaml") {
		u := parse(t, doc)
		notes := u.GetAnnotations()
		at, says := notes["at"], notes["says"]
		t.Run(u.GetKind()+"/"+u.GetName(), func(t *testing.T) {
			if at == "" || says == "" {
				t.Fatal("the table lacks the annotations at and says")
			}
			found := server.refusal(t, u)
			if !slices.ContainsFunc(found, func(c string) bool {
				return strings.Contains(c, at+": ") && strings.Contains(c, says) || strings.Contains(c, says+` "`+at+`"`)
			}) {
				t.Errorf("the API server says %q\nwant %s: …%s…", found, at, says)
			}
			if len(folderProblems(t, doc)) == 0 {
				t.Error("a folder accepts it")
			}
		})
	}
}

// What an API server refuses, a folder refuses at the same field, by the same schema: there is no kind without.
func TestFoldersRefuse(t *testing.T) {
	seen := map[string]bool{}
	for _, doc := range documents(t, "testdata/refused.yaml") {
		u := parse(t, doc)
		seen[u.GetKind()] = true
		at := u.GetAnnotations()["at"]
		found := folderProblems(t, doc)
		if !slices.ContainsFunc(found, func(p string) bool { return strings.Contains(p, " "+at) }) {
			t.Errorf("%s %s: the folder says %q\nwant something of %s", u.GetKind(), u.GetName(), found, at)
		}
	}
	for kind := range api.Resources {
		if !seen[kind] {
			t.Errorf("no %s in the table", kind)
		}
	}
}

// agree: every object of ours in the examples, the golden files and the tests is judged alike by both.
func agree(t *testing.T, server *apiServer) {
	seen := map[string]int{}
	for _, file := range manifests(t) {
		for _, doc := range documents(t, file) {
			u := parse(t, doc)
			if u == nil || u.GroupVersionKind().Group != api.Group {
				continue
			}
			refused, problems := server.refusal(t, u), folderProblems(t, doc)
			if len(refused) == 0 {
				seen[u.GetKind()]++
			}
			if (len(refused) == 0) != (len(problems) == 0) {
				t.Errorf("%s: %s %s: the API server says %q, the folder %q", file, u.GetKind(), u.GetName(), refused, problems)
			}
			if strings.HasPrefix(file, "../examples/") && len(refused) > 0 {
				t.Errorf("%s: an example is refused: %q", file, refused)
			}
		}
	}
	for kind := range api.Resources {
		if seen[kind] == 0 {
			t.Errorf("no %s met that is well written", kind)
		}
	}
}

type apiServer struct {
	client dynamic.Interface
}

// withCRDs installs what the chart brings.
func withCRDs(t *testing.T, s *kubetest.Server) *apiServer {
	t.Helper()
	files, err := filepath.Glob("weft/files/crds/*.yaml")
	if err != nil || len(files) != len(api.Resources) {
		t.Fatalf("resource definitions: %v %v", files, err)
	}
	s.InstallCRDs(files...)
	c, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &apiServer{client: c}
}

// refusal tries to create an object as kubectl does (strictly) and returns what is said against it.
func (s *apiServer) refusal(t *testing.T, u *unstructured.Unstructured) []string {
	t.Helper()
	u = u.DeepCopy()
	u.SetNamespace("default")
	_, err := s.client.Resource(api.Resource(u.GetKind())).Namespace("default").
		Create(context.Background(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	var status *apierrors.StatusError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &status) || !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		t.Fatalf("create %s %s: %v", u.GetKind(), u.GetName(), err)
	}
	out := []string{}
	if d := status.ErrStatus.Details; d != nil {
		for _, c := range d.Causes {
			out = append(out, c.Field+": "+c.Message)
		}
	}
	if len(out) == 0 {
		out = append(out, status.ErrStatus.Message)
	}
	return out
}

// folderProblems are what is said against an object in a folder: of how it is written, not of what it
// names and is not there, which no API server checks either.
func folderProblems(t *testing.T, doc string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := source.Open(source.Options{Dirs: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	_, problems := d.Load()
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

// manifests are the files of the tree in which objects stand.
func manifests(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"testdata/accepted", "../examples", "../pkg/controller/testdata", "../pkg/source", "../pkg/lab"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ".yaml" && !strings.HasSuffix(path, ".out.yaml") {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func documents(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range bytes.Split(data, []byte("\n---\n")) {
		out = append(out, string(d)+"\n")
	}
	return out
}

// parse returns nil for what is no object.
func parse(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil || u.GetKind() == "" {
		return nil
	}
	return u
}
