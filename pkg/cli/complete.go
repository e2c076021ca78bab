package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/model"
)

// What the shell offers after TAB. It asks the mesh that the flags so far name; where nothing answers, it
// offers nothing.

type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// offer completes from a list that is only made when it is needed.
func offer(list func(cmd *cobra.Command, args []string) []string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		all := slices.DeleteFunc(list(cmd, args), func(s string) bool { return !strings.HasPrefix(s, typed) || slices.Contains(args, s) })
		slices.Sort(all)
		return slices.Compact(all), cobra.ShellCompDirectiveNoFileComp
	}
}

func offerFixed(list ...string) completion {
	return offer(func(*cobra.Command, []string) []string { return slices.Clone(list) })
}

// completeNames offers what the getter finds.
func completeNames(o *getOptions, get getter) completion {
	return offer(func(cmd *cobra.Command, _ []string) []string {
		l, _ := get(cmd, o)
		if l == nil {
			return nil
		}
		if o.namespace == "" {
			return l.keys()
		}
		l.in(o.namespace)
		names := l.keys()
		for i, k := range names {
			names[i] = strings.TrimPrefix(k, o.namespace+"/")
		}
		return names
	})
}

// completeNamespaces offers the namespaces of workloads and services.
func completeNamespaces(r *remote) completion {
	return offer(func(cmd *cobra.Command, _ []string) []string {
		snap, err := r.snapshot(cmd.Context())
		if err != nil {
			return nil
		}
		var names []string
		for _, w := range snap.Workloads.All() {
			names = append(names, w.Namespace)
		}
		for _, s := range snap.Services {
			names = append(names, s.Namespace)
		}
		return names
	})
}

// completeWhy offers a pod, and then a service's port or a pod.
func completeWhy(o *whyOptions) completion {
	return offer(func(cmd *cobra.Command, args []string) []string {
		snap, err := o.load(cmd.Context())
		if err != nil || len(args) > 1 {
			return nil
		}
		if len(args) == 0 {
			return podNames(snap)
		}
		var names []string
		for _, s := range snap.Services {
			for _, p := range s.Ports {
				names = append(names, s.Name+"."+s.Namespace+":"+portNumber(p))
			}
		}
		return names
	})
}

func podNames(snap *model.Snapshot) []string {
	var names []string
	for _, w := range snap.Workloads.All() {
		names = append(names, workloadName(w))
	}
	return names
}

// completeLab adds completion to the commands of the lab, whose names come from the lab's own files.
func completeLab(root *cobra.Command) {
	labCmd, _, err := root.Find([]string{"lab"})
	if err != nil {
		return
	}
	_ = labCmd.RegisterFlagCompletionFunc("name", completeLabs)
	for _, c := range labCmd.Commands() {
		switch c.Name() {
		case "exec":
			c.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 {
					return nil, cobra.ShellCompDirectiveDefault // a command of this machine, and its files
				}
				return offer(func(cmd *cobra.Command, _ []string) []string { return labPods(cmd) })(cmd, args, typed)
			}
		case "logs":
			c.ValidArgsFunction = offer(func(cmd *cobra.Command, args []string) []string {
				if len(args) > 0 {
					return nil
				}
				return append(append(labPods(cmd), labPrograms(cmd)...), "supervisor")
			})
		case "kill":
			c.ValidArgsFunction = offer(func(cmd *cobra.Command, _ []string) []string { return labPrograms(cmd) })
		}
	}
}

var completeLabs = offer(func(*cobra.Command, []string) []string { return lab.Names() })

func loadedLab(cmd *cobra.Command) *lab.Config {
	name, err := cmd.Flags().GetString("name")
	if err != nil {
		return nil
	}
	c, err := lab.Load(name)
	if err != nil {
		return nil
	}
	return c
}

func labPods(cmd *cobra.Command) []string {
	c := loadedLab(cmd)
	if c == nil {
		return nil
	}
	pods, err := c.Pods()
	if err != nil {
		return nil
	}
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.Namespace + "/" + p.Name
	}
	return names
}

func labPrograms(cmd *cobra.Command) []string {
	c := loadedLab(cmd)
	if c == nil {
		return nil
	}
	st, err := c.ReadState()
	if err != nil {
		return nil
	}
	return st.ProgramNames()
}
