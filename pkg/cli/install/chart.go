package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/cli/values"
	"helm.sh/helm/v4/pkg/getter"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/charts"
)

const folder = "weft" // of the chart in charts.Weft

// Chart is the embedded chart.
func Chart() (*chart.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(charts.Weft, folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := charts.Weft.ReadFile(name)
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(name, folder+"/"), Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded chart: %w", err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("read the embedded chart: %w", err)
	}
	return c, nil
}

// Profiles are the platforms that the chart has values for.
func Profiles() []string {
	entries, err := charts.Weft.ReadDir(folder + "/profiles")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			names = append(names, name)
		}
	}
	return names
}

// Values is what a person says of values, as helm's flags of the same names.
type Values struct {
	Profile string   // one of Profiles, or empty
	Files   []string // -f, --values
	Set     []string // --set
	Strings []string // --set-string
}

// ErrValues is wrapped when values cannot be read.
var ErrValues = errors.New("values")

// Merge reads all: the profile, over it the files, over them what was set.
func (v Values) Merge() (map[string]any, error) {
	base := map[string]any{}
	if v.Profile != "" {
		if !slices.Contains(Profiles(), v.Profile) {
			return nil, fmt.Errorf("%w: there is no profile %q, only %s", ErrValues, v.Profile, strings.Join(Profiles(), ", "))
		}
		data, err := charts.Weft.ReadFile(path.Join(folder, "profiles", v.Profile+".yaml"))
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(data, &base); err != nil {
			return nil, fmt.Errorf("profile %s: %w", v.Profile, err)
		}
	}
	o := values.Options{ValueFiles: v.Files, Values: v.Set, StringValues: v.Strings}
	given, err := o.MergeValues(getter.All(cli.New()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrValues, err)
	}
	return util.MergeTables(given, base), nil
}
