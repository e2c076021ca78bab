package source

import (
	"encoding/json"
	"fmt"
	"path"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	fielderr "k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/charts"
	"github.com/weftmesh/weft/pkg/api"
)

// schema is what the chart's CustomResourceDefinition says of a kind of ours. A folder is held against the
// very text that an API server holds objects against, by the same code: there is no second set of rules.
type schema struct {
	structural *structuralschema.Structural
	values     validation.SchemaValidator
	rules      *cel.Validator // nil for a kind without rules
}

// schemaOf is the schema of a kind of ours, nil for other kinds. It is compiled when the first object of the
// kind is read (some ten milliseconds), and once.
func schemaOf(group, name string) func() (*schema, error) {
	if group != api.Group {
		return nil
	}
	return sync.OnceValues(func() (*schema, error) { return loadSchema(name) })
}

func loadSchema(kind string) (*schema, error) {
	file := path.Join("weft/files/crds", api.Group+"_"+api.Resources[kind]+".yaml")
	data, err := charts.Weft.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("this program lacks the resource definition of %s: %w", kind, err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == api.Version && v.Schema != nil {
			return newSchema(v.Schema.OpenAPIV3Schema)
		}
	}
	return nil, fmt.Errorf("%s has no version %s", file, api.Version)
}

func newSchema(of *apiextensionsv1.JSONSchemaProps) (*schema, error) {
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(of, &props, nil); err != nil {
		return nil, err
	}
	s := &schema{}
	var err error
	if s.structural, err = structuralschema.NewStructural(&props); err != nil {
		return nil, err
	}
	if s.values, _, err = validation.NewSchemaValidator(&props); err != nil {
		return nil, err
	}
	s.rules = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	return s, nil
}

// judge fills in defaults, as an API server does, and returns the object with what is wrong with it. Rules
// see only objects whose values are right, so that none is said twice.
func (s *schema) judge(v any) (map[string]any, fielderr.ErrorList, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, nil, err
	}
	var all map[string]any
	if err := utiljson.Unmarshal(data, &all); err != nil { // whole numbers are int64, which the validators want
		return nil, nil, err
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(all, s.structural)
	defaulting.Default(all, s.structural)
	judged := make(map[string]any, len(all))
	for k, v := range all {
		if k != "status" { // is written by programs, at an API server of its own
			judged[k] = v
		}
	}
	errs := validation.ValidateCustomResource(nil, judged, s.values)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, judged)...)
	if s.rules != nil && !blocking(errs) {
		more, _ := s.rules.Validate(ruleContext, nil, s.structural, judged, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, more...)
	}
	return all, errs, nil
}
