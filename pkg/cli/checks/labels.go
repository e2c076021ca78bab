package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
)

// knownLabels are those that Weft reads, with their values; nil: a name.
var knownLabels = map[string][]string{
	api.LabelMode:                 {api.ModeAmbient, api.ModeNone},
	api.LabelUseWaypoint:          nil,
	api.LabelUseWaypointNamespace: nil,
	api.LabelWaypointFor:          {"service", "workload", "all", "none"},
}

// labels finds what a person meant for Weft and Weft does not read.
func labels(f *Facts) []Result {
	const name = "labels say what Weft reads"
	for _, what := range []string{"namespaces", "pods"} {
		if err := f.Errors[what]; err != nil {
			return []Result{unknown(name, err)}
		}
	}
	istioRuns := len(istio(f)) > 0
	var out []Result
	for _, n := range f.Namespaces {
		object := "namespace " + n.Name
		for _, w := range mislabelled(n.Labels, istioRuns) {
			out = append(out, warn(name, object+": "+w.what, w.fix("kubectl label "+object)))
		}
		for _, w := range mislabelled(n.Annotations, true) {
			out = append(out, warn(name, object+": annotation "+w.what, "Weft reads labels, not annotations: "+w.fix("kubectl label "+object)))
		}
		if value, ok := n.Annotations[api.LabelMode]; ok && n.Labels[api.LabelMode] == "" {
			out = append(out, warn(name, object+": "+api.LabelMode+" is an annotation", fmt.Sprintf("Weft reads labels: kubectl label %s %s=%s", object, api.LabelMode, value)))
		}
	}
	out = append(out, mislabelledPods(f, istioRuns)...)
	if len(out) == 0 {
		return []Result{ok(name, "")}
	}
	return out
}

// mislabelledPods tells of each mistake once, with the pods that share it.
func mislabelledPods(f *Facts, istioRuns bool) []Result {
	type mistake struct{ namespace, what, hint string }
	pods := map[mistake][]string{}
	var order []mistake
	for _, p := range f.Pods {
		for _, w := range mislabelled(p.Labels, istioRuns) {
			m := mistake{p.Namespace, w.what, "in the template of what owns them: " + w.should}
			if pods[m] == nil {
				order = append(order, m)
			}
			pods[m] = append(pods[m], p.Name)
		}
	}
	var out []Result
	for _, m := range order {
		out = append(out, warn("labels say what Weft reads", fmt.Sprintf("pods of namespace %s: %s (%s)", m.namespace, m.what, some(pods[m])), m.hint))
	}
	return out
}

// wrong is one label that is not what it was meant to be.
type wrong struct {
	key    string
	what   string // what is wrong
	should string // the label as it should be, key=value
}

// fix is the command that mends it.
func (w wrong) fix(label string) string {
	if strings.HasPrefix(w.should, w.key+"=") {
		return label + " --overwrite " + w.should
	}
	return label + " " + w.should + " " + w.key + "-"
}

// mislabelled looks for typos in keys and values, and for Istio's labels where Istio does not run.
func mislabelled(labels map[string]string, istioRuns bool) []wrong {
	var out []wrong
	for _, key := range sortedKeys(labels) {
		value := labels[key]
		if values, known := knownLabels[key]; known {
			if values != nil && !slices.Contains(values, value) {
				should := near(strings.ToLower(value), values)
				out = append(out, wrong{key, fmt.Sprintf("%s=%s is no value that there is", key, value), key + "=" + should})
			}
			continue
		}
		prefix, last, _ := strings.Cut(key, "/")
		if prefix == "istio.io" && (last == "dataplane-mode" || last == "use-waypoint") && !istioRuns {
			out = append(out, wrong{key, key + " is Istio's label, and no Istio runs here", api.Group + "/" + last + "=" + value})
			continue
		}
		if meant := meantKey(key); meant != "" {
			out = append(out, wrong{key, key + " is not read by anybody", meant + "=" + value})
		}
	}
	return out
}

// meantKey is the label that a key looks like, "" none.
func meantKey(key string) string {
	prefix, last, slashed := strings.Cut(strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(key)), "/")
	if !slashed {
		name := api.Group + "/" + prefix
		if _, exact := knownLabels[name]; exact { // without a prefix only the very name is suspicious
			return name
		}
		return ""
	}
	if distance(prefix, api.Group) > 2 && !strings.Contains(prefix, "weft") {
		return ""
	}
	if key == api.AnnotationRedirection || strings.HasPrefix(key, api.Group+"/agent-") {
		return ""
	}
	for _, known := range sortedKeys(knownLabels) {
		if _, name, _ := strings.Cut(known, "/"); distance(last, name) <= 3 {
			return known
		}
	}
	return ""
}

// near is the value that differs least.
func near(value string, values []string) string {
	return slices.MinFunc(values, func(a, b string) int { return distance(value, a) - distance(value, b) })
}

// distance counts the letters to insert, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
